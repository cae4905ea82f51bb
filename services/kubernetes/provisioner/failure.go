package provisioner

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Reasons of events about what did not work.
const (
	reasonProvision = "ProvisioningFailed"
	reasonDelete    = "VolumeFailedDelete"
	reasonExpand    = "VolumeResizeFailed"
	reasonModify    = "VolumeModifyFailed"
	reasonSnapshot  = "SnapshotFailed"
)

// failure is an error with another reason than its queue's.
type failure struct {
	reason string
	err    error
}

func (f failure) Error() string { return f.err.Error() }

func (f failure) Unwrap() error { return f.err }

// failures are several at once.
type failures []failure

func (f failures) Error() string { return errors.Join(f.Unwrap()...).Error() }

func (f failures) Unwrap() []error {
	out := make([]error, len(f))
	for i, one := range f {
		out[i] = one
	}

	return out
}

// failuresOf returns what there is to tell about err, with reason where it has no
// other one.
func failuresOf(err error, reason string) failures {
	var (
		several failures
		one     failure
	)

	switch {
	case errors.As(err, &several):
		return several
	case errors.As(err, &one):
		return failures{one}
	default:
		return failures{{reason, err}}
	}
}

// both returns err, which is not nil, with what else went wrong if anything did.
func both(err, then error) error {
	if then == nil {
		return err
	}

	return fmt.Errorf("%w (and then: %w)", err, then)
}

func described(err error, doing, what string) error {
	if err == nil {
		return nil
	}

	return fmt.Errorf("%s %s: %w", doing, what, err)
}

// text is an error as people should read it: of a call's the message alone.
func text(err error) string {
	if s, is := status.FromError(err); is {
		return s.Message()
	}

	return err.Error()
}

// passing reports whether an error is no news to anybody: somebody else has
// changed the object, or this node's time is over.
func passing(err error) bool {
	return apierrors.IsConflict(err) || errors.Is(err, context.Canceled)
}
