package command

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	antlerv1 "antler/api/antler/v1"
)

// told is a stream of these messages, which an error ends.
func told[T any](err error, messages ...T) func() (T, error) {
	return func() (T, error) {
		if len(messages) == 0 {
			var none T

			return none, err
		}

		next := messages[0]
		messages = messages[1:]

		return next, nil
	}
}

func testApp() *app {
	return &app{Environment: Environment{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}, Now: time.Now}, output: formatTable}
}

func TestAMoveThatHasBegunGoesOnWithoutUs(t *testing.T) {
	late := status.Error(codes.DeadlineExceeded, "context deadline exceeded")
	step := &antlerv1.Progress{Event: event(1), Elapsed: durationpb.New(time.Second)}

	begun, err := testApp().followProgress(told(late, step))
	require.True(t, begun)
	require.Equal(t, "antlerctl: the switchover was not done in time, and goes on without antlerctl\n"+
		"  -> watch it with `antlerctl events -f`; `antlerctl status` says who serves\n"+
		"  -> --timeout gives antlerctl longer to wait for it", failureOf(nil, goesOn(err, "the switchover", begun)).text())

	// Nobody has accepted it, for want of a leader for example.
	begun, err = testApp().followProgress(told[*antlerv1.Progress](late))
	require.False(t, begun)

	failed := failureOf(nil, goesOn(err, "the switchover", begun))
	require.Equal(t, "no word of the switchover came in time: it may not have begun", failed.Message)
	require.Equal(t, "NOT_BEGUN_YET", failed.Reason)
}

func TestAMoveThatWaitsHasNotBegun(t *testing.T) {
	app := testApp()

	begun, err := app.followProgress(told(errors.New("gone"), &antlerv1.Progress{Waiting: "n1 has yet to compare"}))
	require.EqualError(t, err, "gone")
	require.False(t, begun)
	require.Equal(t, "  0.00 s  waiting: n1 has yet to compare\n", app.Out.(*bytes.Buffer).String())
}

func TestOnlyTheEndOfTheWaitIsCalledGoingOn(t *testing.T) {
	lost := status.Error(codes.Unavailable, "gone")
	require.Equal(t, lost, goesOn(lost, "the switchover", true))

	own := errors.New("the disk is full")
	require.Equal(t, own, goesOn(own, "the switchover", true))

	explained, err := status.New(codes.DeadlineExceeded, "n1 holds epoch 5").WithDetails(&errdetails.ErrorInfo{Reason: "NOT_YET", Domain: "antler"})
	require.NoError(t, err)
	require.Equal(t, explained.Err(), goesOn(explained.Err(), "the switchover", true))
}

func TestARestoreHasBegunWithItsFirstProgress(t *testing.T) {
	late := status.Error(codes.DeadlineExceeded, "context deadline exceeded")

	// The source is still being copied, and that ends with the call.
	begun, err := testApp().followRestore(told[*antlerv1.RestoreResponse](late))
	require.Equal(t, late, err)
	require.False(t, begun)

	begun, err = testApp().followRestore(told(late, &antlerv1.RestoreResponse{Progress: &antlerv1.Progress{Event: event(1)}}))
	require.Equal(t, late, err)
	require.True(t, begun)
}
