package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Sockets are the two below kubelet's directory: the driver's own, and the one
// by which kubelet learns of it.
type Sockets struct {
	Registration *Registration
	// Serve answers the driver's calls on a listener until that is closed.
	Serve func(net.Listener) error
	// Interval at which is looked whether the sockets are still there: kubelet's
	// directory may come later than antlerd, or be emptied. At the same interval
	// kubelet is asked again when it refused the driver. 10 s if 0.
	Interval time.Duration
}

const socketInterval = 10 * time.Second

// Run serves until ctx ends. It never gives up: kubelet is not what storage
// depends on.
func (s *Sockets) Run(ctx context.Context) error {
	interval := s.Interval
	if interval == 0 {
		interval = socketInterval
	}

	server := grpc.NewServer()
	registerapi.RegisterRegistrationServer(server, s.Registration)

	defer server.Stop()

	// Kubelet calls the driver as soon as it knows of it, so that one comes first.
	all := []*socket{
		{path: SocketPath(s.Registration.Kubelet), serve: s.Serve},
		{path: RegistrationPath(s.Registration.Kubelet), serve: server.Serve},
	}

	ticker := time.NewTicker(interval)
	defer ticker.Stop()

	for {
		// A new socket is what kubelet registers anew.
		if s.Registration.refused.Swap(false) {
			all[1].close()
		}

		for _, one := range all {
			if err := one.ensure(ctx); err != nil {
				s.Registration.Logger.Warn("listen for kubelet", zap.String("socket", one.path), zap.Error(err))
			}
		}

		select {
		case <-ctx.Done():
			for _, one := range all {
				one.close()
			}

			return nil
		case <-ticker.C:
		}
	}
}

// socket is a listener at a path below kubelet's directory.
type socket struct {
	path     string
	serve    func(net.Listener) error
	listener net.Listener
	made     os.FileInfo
	ended    chan error
}

// ensure listens, unless it does already.
func (s *socket) ensure(ctx context.Context) error {
	if s.listens() {
		return nil
	}

	s.close()

	if err := os.MkdirAll(filepath.Dir(s.path), 0o750); err != nil {
		return err
	}

	// One left behind would be taken for a driver that doesn't answer.
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", s.path)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}

	// Who connects before this is turned away by the directory's mode.
	err = os.Chmod(s.path, 0o600)
	if err == nil {
		s.made, err = os.Lstat(s.path)
	}

	if err != nil {
		_ = listener.Close()

		return err
	}

	s.listener, s.ended = listener, make(chan error, 1)

	go func(ended chan<- error) { ended <- s.serve(listener) }(s.ended)

	return nil
}

// listens reports whether the socket is served and is the one at its path.
func (s *socket) listens() bool {
	if s.listener == nil {
		return false
	}

	select {
	case <-s.ended:
		s.listener = nil

		return false
	default:
	}

	now, err := os.Lstat(s.path)

	return err == nil && os.SameFile(now, s.made)
}

// close stops listening. Calls under way go on.
func (s *socket) close() {
	if s.listener == nil {
		return
	}

	// Closing removes whatever is at the path, which may be somebody else's by
	// now.
	if now, err := os.Lstat(s.path); err != nil || !os.SameFile(now, s.made) {
		if local, ok := s.listener.(*net.UnixListener); ok {
			local.SetUnlinkOnClose(false)
		}
	}

	_ = s.listener.Close()
	<-s.ended
	s.listener = nil
}
