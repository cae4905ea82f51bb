package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// The kinds of errors that this package returns, to be told apart with
// errors.Is. Whatever is none of them is a fault inside.
var (
	// ErrInvalid: the request can't be right, whatever the state.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound: there is no such volume.
	ErrNotFound = errors.New("volume not found")
	// ErrExists: the name is taken by something else than what was asked for.
	ErrExists = errors.New("volume exists")
	// ErrPrecondition: the state doesn't allow it, and trying again won't help.
	ErrPrecondition = errors.New("volume not in the right state")
	// ErrTooSmall: a copy must have room for its source.
	ErrTooSmall = errors.New("volume too small")
	// ErrInUse: a node uses the volume in a way that rules this out.
	ErrInUse = errors.New("volume in use")
	// ErrUnavailable: MooseFS is not mounted or doesn't answer. Try again. A
	// change may or may not have been made.
	ErrUnavailable = errors.New("volumes unavailable")
)

// fault is an error of a kind with a text of its own.
type fault struct {
	kind error
	text string
	// cause is the error that it was made of, if any.
	cause error
}

func (f *fault) Error() string { return f.text }

func (f *fault) Unwrap() []error {
	if f.cause == nil {
		return []error{f.kind}
	}

	return []error{f.kind, f.cause}
}

// failf returns an error of the given kind.
func failf(kind error, format string, args ...any) error {
	err := fmt.Errorf(format, args...)

	return &fault{kind: kind, text: err.Error(), cause: errors.Unwrap(err)}
}

// classify gives errors of the file system their kind and says what was done.
func classify(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case kindOf(err) != nil:
		return fmt.Errorf("%s: %w", doing, err)
	case errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.EIO), errors.Is(err, unix.ETIMEDOUT),
		errors.Is(err, unix.ESTALE), errors.Is(err, unix.ECONNABORTED),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return failf(ErrUnavailable, "%s: MooseFS does not answer, try again when a master serves: %w", doing, err)
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EXDEV):
		return failf(ErrPrecondition, "%s: there is a link, a file or a mount where a directory belongs: look who put it there and move it away: %w", doing, err)
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// kindOf returns the kind of err, nil if it has none.
func kindOf(err error) error {
	for _, kind := range []error{ErrInvalid, ErrNotFound, ErrExists, ErrPrecondition, ErrTooSmall, ErrInUse, ErrUnavailable} {
		if errors.Is(err, kind) {
			return kind
		}
	}

	return nil
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
