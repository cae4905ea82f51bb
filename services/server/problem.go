package server

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"antler/services/authority"
	"antler/services/metadata/files"
	"antler/services/volume"
)

// Domain of the reasons in errors.
const Domain = "antler"

// problem is an error with what a program needs (code, reason) and what a
// person needs (message, hint).
func problem(code codes.Code, reason, message, hint string, details ...protoadapt.MessageV1) error {
	out := status.New(code, message)

	all := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: reason, Domain: Domain}}
	if hint != "" {
		all = append(all, &errdetails.Help{Links: []*errdetails.Help_Link{{Description: hint}}})
	}

	detailed, err := out.WithDetails(append(all, details...)...)
	if err != nil {
		return out.Err()
	}

	return detailed.Err()
}

// badField is an error about one field of a request.
func badField(field, description string) error {
	return problem(codes.InvalidArgument, "BAD_FIELD", field+": "+description, "",
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: description}}})
}

// explained turns a service's error into a status. What was being done is put
// before it, unless it is "": then the error says so itself.
func explained(err error, doing string) error {
	if err == nil {
		return nil
	}

	// What came from another node by gRPC is explained already.
	if passed, ok := status.FromError(err); ok {
		return passed.Err()
	}

	code, reason := kindOf(err)

	message := err.Error()
	if doing != "" {
		message = doing + ": " + message
	}

	if code != codes.FailedPrecondition {
		return problem(code, reason, message, advice(reason))
	}

	return problem(code, reason, message, advice(reason), &errdetails.PreconditionFailure{
		Violations: []*errdetails.PreconditionFailure_Violation{{Type: reason, Subject: doing, Description: err.Error()}},
	})
}

func kindOf(err error) (codes.Code, string) {
	var rejection *authority.Rejection

	switch {
	case errors.As(err, &rejection):
		return codes.FailedPrecondition, strings.ToUpper(strings.ReplaceAll(string(rejection.Code), "-", "_"))
	case errors.Is(err, files.ErrNoSource):
		return codes.NotFound, "NO_SOURCE"
	case errors.Is(err, volume.ErrInvalid):
		return codes.InvalidArgument, "INVALID"
	case errors.Is(err, volume.ErrNotFound):
		return codes.NotFound, "VOLUME_NOT_FOUND"
	case errors.Is(err, volume.ErrExists):
		return codes.AlreadyExists, "VOLUME_EXISTS"
	case errors.Is(err, volume.ErrPrecondition):
		return codes.FailedPrecondition, "VOLUME_STATE"
	case errors.Is(err, volume.ErrUnavailable):
		return codes.Unavailable, "VOLUMES_UNAVAILABLE"
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded, "TIMEOUT"
	case errors.Is(err, context.Canceled):
		return codes.Canceled, "CANCELED"
	default:
		return codes.Unknown, "FAILED"
	}
}

// advice is what to do next, of errors that don't say so themselves.
func advice(reason string) string {
	switch reason {
	case "NO_SOURCE":
		return "`antlerctl metadata sources` lists what there is to restore"
	case "VOLUME_NOT_FOUND":
		return "`antlerctl volume list` shows which there are, with --archived those that were deleted and can be had back"
	case "VOLUMES_UNAVAILABLE":
		return "try again when somebody serves: `antlerctl status` shows who"
	case "TIMEOUT":
		return "try again: what was begun is gone on with; `antlerctl status` shows whether somebody serves"
	}

	return ""
}
