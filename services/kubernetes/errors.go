package kubernetes

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"antler/services/volume"
)

// failed gives an error of package volume the code that CSI asks for.
func failed(err error) error {
	if err == nil {
		return nil
	}

	if passed, ok := status.FromError(err); ok {
		return passed.Err()
	}

	for _, of := range []struct {
		kind error
		code codes.Code
	}{
		{volume.ErrInvalid, codes.InvalidArgument},
		{volume.ErrNotFound, codes.NotFound},
		{volume.ErrExists, codes.AlreadyExists},
		{volume.ErrPrecondition, codes.FailedPrecondition},
		{volume.ErrInUse, codes.FailedPrecondition},
		{volume.ErrTooSmall, codes.OutOfRange},
		{volume.ErrUnavailable, codes.Unavailable},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
	} {
		if errors.Is(err, of.kind) {
			return status.Error(of.code, err.Error())
		}
	}

	return status.Error(codes.Internal, err.Error())
}

// gone makes success of the error that what was to be taken away isn't there.
func gone(err error) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}

	return err
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// handleOf reads a handle that must be there. What can't be a handle is of
// nothing that exists.
func handleOf(field, text string) (Handle, error) {
	if text == "" {
		return Handle{}, invalid("%s: is missing", field)
	}

	h, err := ParseHandle(text)
	if err != nil {
		return Handle{}, status.Errorf(codes.NotFound, "%s: %v", field, err)
	}

	return h, nil
}
