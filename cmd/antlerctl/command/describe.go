package command

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// failure is why a command did not do what it should. Its JSON is what programs get:
// see rootHelp.
type failure struct {
	// Code of gRPC, Reason within it.
	Code    string `json:"code"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Hints are what to do, Fields what is wrong with which part of the request.
	Hints    []string `json:"hints"`
	Fields   []field  `json:"fields"`
	ExitCode int      `json:"exit_code"`
}

// field of a request, by the name of its flag where there is one.
type field struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

// reasonError is an error of antlerctl's own that programs can tell from others.
type reasonError struct {
	error

	code   codes.Code
	reason string
}

// failureOf puts an error of the command into words.
func failureOf(cmd *cobra.Command, err error) failure {
	out := failure{Code: codes.Unknown.String(), Reason: "FAILED", Message: err.Error(), Hints: []string{}, Fields: []field{}, ExitCode: exitFailed}

	var usage usageError
	if errors.As(err, &usage) {
		out.Code, out.Reason, out.ExitCode = codes.InvalidArgument.String(), "USAGE", exitUsage

		return out
	}

	var own reasonError
	if errors.As(err, &own) {
		out.Code, out.Reason = own.code.String(), own.reason

		return out
	}

	answer, fromNode := status.FromError(err)
	if !fromNode {
		if errors.Is(err, context.DeadlineExceeded) {
			out.Code, out.Reason = codes.DeadlineExceeded.String(), strings.ToUpper(codes.DeadlineExceeded.String())
		}

		return out
	}

	out.Code, out.Reason, out.Message = answer.Code().String(), strings.ToUpper(answer.Code().String()), message(answer)

	for _, detail := range answer.Details() {
		out.add(cmd, detail)
	}

	if answer.Code() == codes.InvalidArgument {
		out.ExitCode = exitUsage
	}

	return out
}

func (f *failure) add(cmd *cobra.Command, detail any) {
	switch detail := detail.(type) {
	case *errdetails.ErrorInfo:
		f.Reason = detail.GetReason()
	case *errdetails.Help:
		for _, link := range detail.GetLinks() {
			f.Hints = append(f.Hints, link.GetDescription())
		}
	case *errdetails.BadRequest:
		for _, violation := range detail.GetFieldViolations() {
			name := written(cmd, violation.GetField())
			f.Fields = append(f.Fields, field{name, violation.GetDescription()})
			f.Message = strings.Replace(f.Message, violation.GetField()+": "+violation.GetDescription(), name+": "+violation.GetDescription(), 1)
		}
	}
}

// written is what a person writes for a field of the API.
func written(cmd *cobra.Command, field string) string {
	flag := strings.ReplaceAll(strings.TrimSuffix(field, "_bytes"), "_", "-")

	switch {
	case cmd.Flags().Lookup(flag) != nil:
		return "--" + flag
	case field == "target":
		return "NODE"
	case strings.Contains(cmd.Use, strings.ToUpper(field)):
		return strings.ToUpper(field)
	default:
		return field
	}
}

// text is for people: what is wrong, and below it what to do.
func (f failure) text() string {
	var b strings.Builder

	b.WriteString("antlerctl: " + f.Message)

	for _, hint := range f.Hints {
		b.WriteString("\n  -> " + hint)
	}

	for _, field := range f.Fields {
		if line := field.Field + ": " + field.Description; !strings.Contains(f.Message, line) {
			b.WriteString("\n  " + line)
		}
	}

	return b.String()
}

// json is one line.
func (f failure) json() string {
	raw, err := json.Marshal(map[string]failure{"error": f})
	if err != nil {
		return f.text()
	}

	return string(raw)
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
