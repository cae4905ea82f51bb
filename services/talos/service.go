package talos

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// Node starts antlerd on the node.
type Node interface {
	// Start starts antlerd, and ends one that is there before.
	Start(ctx context.Context) (Daemon, error)
}

// Daemon is an antlerd that runs, or ran.
type Daemon interface {
	// Exited gets the exit code once.
	Exited() <-chan int
	// Signal the process; one that is gone is no error.
	Signal(ctx context.Context, signal syscall.Signal) error
	// Remove what is left of it.
	Remove(ctx context.Context) error
}

// Service is what Talos runs.
type Service struct {
	Node   Node
	Logger *zap.Logger
	// BeforeStop is called when the service is told to stop, before antlerd is.
	BeforeStop func(ctx context.Context)
	// StopTime is what antlerd gets between SIGTERM and SIGKILL: less than the 10 s
	// that Talos gives the service. KillTime is what it gets to be gone then.
	StopTime, KillTime time.Duration
	// RetryInterval is the pause between attempts to start antlerd while the
	// node's containerd isn't there.
	RetryInterval time.Duration
}

// Times of a service, of the 10 s that Talos gives it. AskTime is for BeforeStop,
// KillTime is spent again where what is left of antlerd is removed.
const (
	AskTime       = time.Second
	StopTime      = 5 * time.Second
	KillTime      = 1500 * time.Millisecond
	RetryInterval = time.Second
)

// Run starts antlerd and returns when it has ended, or when ctx has and antlerd was
// stopped. The error says that it ended without being told to.
func (s *Service) Run(ctx context.Context) error {
	daemon, err := s.start(ctx)
	if err != nil {
		return err
	}

	select {
	case code := <-daemon.Exited():
		s.remove(daemon)

		return fmt.Errorf("antlerd ended with code %d, and is started again", code)
	case <-ctx.Done():
	}

	return s.stop(context.WithoutCancel(ctx), daemon)
}

// start tries until it succeeds: containerd may be starting, or be restarted.
func (s *Service) start(ctx context.Context) (Daemon, error) {
	ticker := time.NewTicker(s.RetryInterval)
	defer ticker.Stop()

	for {
		daemon, err := s.Node.Start(ctx)
		if err == nil {
			return daemon, nil
		}

		if ctx.Err() != nil {
			return nil, fmt.Errorf("told to stop before antlerd was started: %w", err)
		}

		s.Logger.Warn("antlerd can't be started yet", zap.Error(err))

		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("told to stop before antlerd was started: %w", err)
		case <-ticker.C:
		}
	}
}

func (s *Service) stop(ctx context.Context, daemon Daemon) error {
	if s.BeforeStop != nil {
		s.BeforeStop(ctx)
	}

	defer s.remove(daemon)

	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, s.StopTime}, {syscall.SIGKILL, s.KillTime}} {
		err := daemon.Signal(ctx, step.signal)
		if err != nil {
			s.Logger.Warn("signal antlerd", zap.Stringer("signal", step.signal), zap.Error(err))
		}

		select {
		case <-daemon.Exited():
			return nil
		case <-time.After(step.wait):
			s.Logger.Warn("antlerd has not ended", zap.Stringer("after", step.signal))
		}
	}

	return fmt.Errorf("antlerd has not ended %s after SIGKILL: it hangs in the kernel, only a reset of the node ends it", s.KillTime)
}

func (s *Service) remove(daemon Daemon) {
	ctx, cancel := context.WithTimeout(context.Background(), s.KillTime)
	defer cancel()

	err := daemon.Remove(ctx)
	if err != nil {
		s.Logger.Warn("remove antlerd's container: the next start will", zap.Error(err))
	}
}
