package command

import (
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// describe puts an error into a person's words: what is wrong, and below it
// what to do.
func describe(err error) string {
	answer, fromNode := status.FromError(err)

	var usage usageError
	if !fromNode || errors.As(err, &usage) {
		return "antlerctl: " + err.Error()
	}

	var b strings.Builder

	b.WriteString("antlerctl: " + message(answer))

	for _, detail := range answer.Details() {
		switch detail := detail.(type) {
		case *errdetails.Help:
			for _, link := range detail.GetLinks() {
				b.WriteString("\n  -> " + link.GetDescription())
			}
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				line := violation.GetField() + ": " + violation.GetDescription()
				if !strings.Contains(answer.Message(), line) {
					b.WriteString("\n  " + line)
				}
			}
		}
	}

	return b.String()
}

func message(answer *status.Status) string {
	// These come from gRPC itself, which doesn't speak to people.
	switch {
	case len(answer.Details()) > 0:
		return answer.Message()
	case answer.Code() == codes.DeadlineExceeded:
		return "no answer in time: try again, or give it longer with --timeout"
	case answer.Code() == codes.Unavailable:
		return "the node went away: " + transportReason(answer.Message()) + ": try again"
	case answer.Code() == codes.Unimplemented:
		return "the node does not offer this: " + answer.Message()
	default:
		return answer.Message()
	}
}
