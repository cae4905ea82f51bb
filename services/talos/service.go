package talos

import (
	"context"
	"errors"
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
	// Remove what is left of it, and follow it no longer.
	Remove(ctx context.Context) error
	// Leave it as it is, and follow it no longer.
	Leave() error
}

// Service is what Talos runs.
type Service struct {
	Node   Node
	Logger *zap.Logger
	// GoesDown is asked when the service is told to stop: whether the whole node
	// goes down, and antlerd knows. If not, antlerd runs on.
	GoesDown func(ctx context.Context) bool
	// AskTime is for GoesDown. StopTime, of which AskTime is part, is what antlerd
	// gets on a node that goes down to hand over what it serves and to end;
	// RemoveTime is for what is left of it then.
	AskTime, StopTime, RemoveTime time.Duration
	// RetryInterval is the pause between attempts to start antlerd while the
	// node's containerd isn't there.
	RetryInterval time.Duration
}

// Times of a service, of the 10 s that Talos gives it.
const (
	AskTime       = 8 * time.Second
	StopTime      = 8500 * time.Millisecond
	RemoveTime    = time.Second
	RetryInterval = time.Second
)

// Run starts antlerd, in place of one that is there before, and returns when it has
// ended, or when ctx has. The error says that it ended without being told to.
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

// stop ends antlerd where the whole node goes down. Elsewhere Talos starts the service
// again in a moment, with another configuration or because somebody asked for it:
// then antlerd is replaced, and the node is not without it for as long as Talos takes.
func (s *Service) stop(ctx context.Context, daemon Daemon) error {
	ended, cancel := context.WithTimeout(ctx, s.StopTime)
	defer cancel()

	asking, answered := context.WithTimeout(ended, s.AskTime)
	defer answered()

	if !s.GoesDown(asking) {
		s.Logger.Info("antlerd runs on, until this service starts again and replaces it")

		return daemon.Leave()
	}

	err := daemon.Signal(ended, syscall.SIGTERM)
	if err != nil {
		s.Logger.Warn("tell antlerd that the node goes down", zap.Error(err))
	}

	select {
	case <-daemon.Exited():
		s.remove(daemon)

		return nil
	case <-ended.Done():
		// Killed it would leave a master and its mounts for which nobody cares.
		return errors.Join(fmt.Errorf("antlerd has not ended after %s, and goes on with it: "+
			"the node can't unmount everything until it has", s.StopTime), daemon.Leave())
	}
}

func (s *Service) remove(daemon Daemon) {
	ctx, cancel := context.WithTimeout(context.Background(), s.RemoveTime)
	defer cancel()

	err := daemon.Remove(ctx)
	if err != nil {
		s.Logger.Warn("remove antlerd's container: the next start will", zap.Error(err))
	}
}
