package moosefs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"golang.org/x/sys/unix"

	"antler/services/containers"
	"antler/services/moosefs/protocol"
	"antler/services/volume"
)

// VolumeMounts are the mounts of single volumes on this node. What is wanted is a
// VolumeMountSpec, and a record of it in a volatile directory: an antlerd that was
// restarted goes on with the mounts that it finds, and after a reboot there are
// none until kubelet stages their volumes again.
type VolumeMounts struct {
	State state.State
	// Dir holds the mount points, each called as the volume's id; Records a file
	// of the same name. They are config.VolumeMountDir and config.VolumeMountRecords.
	Dir, Records string
	// Logs is where the containers' logs are; /run is memory, and that of a mount
	// that is gone goes as well.
	Logs string
	// Self is the address that this node's sessions have.
	Self netip.Addr
	// Sessions asks the master for those it has, and what they show.
	Sessions func(ctx context.Context) ([]protocol.SessionRoot, error)
	// Verify is volume.VerifyMooseFS.
	Verify func(root *os.File) error
	// Release takes back a mount point whose container is gone;
	// containers.UnshareMountpoint.
	Release func(path string) error

	calls *volume.Calls
}

// Deadlines. A container takes seconds to make, and up to a minute where the
// processor has more to do; kubelet gives a call two, and asks again.
const (
	volumeMountDeadline  = time.Minute
	volumeMountsStuck    = 16
	volumeCallDeadline   = 10 * time.Second
	sessionsCallDeadline = 5 * time.Second
)

// NewVolumeMounts returns m, ready to be used.
func NewVolumeMounts(m VolumeMounts) *VolumeMounts {
	m.calls = volume.NewCalls(volumeMountsStuck, volumeCallDeadline)

	return &m
}

// check refuses what can't be part of a path or of mfsmount's options.
func check(name, id string) error {
	return errors.Join(volume.CheckName(name), volume.CheckName(id))
}

// Ensure asks for a mount of the volume's data and waits until it is there and a
// master answers through it.
func (m *VolumeMounts) Ensure(ctx context.Context, name, id string, options []string) error {
	if err := check(name, id); err != nil {
		return err
	}

	want := VolumeMountSpecSpec{Volume: name, Options: options}

	have, err := safe.StateGetByID[*VolumeMountSpec](ctx, m.State, id)

	switch {
	case state.IsNotFoundError(err):
		err = m.add(ctx, id, want)
	case err == nil && (have.TypedSpec().Volume != name || !slices.Equal(have.TypedSpec().Options, options)):
		return fmt.Errorf("volume %s is mounted here with the options %q, and not %q: stop the pods that use it first: %w",
			have.TypedSpec().Volume, have.TypedSpec().Options, options, volume.ErrPrecondition)
	}

	if err != nil {
		return fmt.Errorf("ask for a mount of volume %s: %w", name, err)
	}

	return m.await(ctx, name, id)
}

// add records what is wanted before it is asked for: a mount that nobody
// remembers would be stopped under a pod when antlerd is restarted.
func (m *VolumeMounts) add(ctx context.Context, id string, want VolumeMountSpecSpec) error {
	err := m.record(id, want)
	if err != nil {
		return err
	}

	res := NewVolumeMountSpec(id)
	*res.TypedSpec() = want

	return m.State.Create(ctx, res)
}

// await waits for a mount that lives.
func (m *VolumeMounts) await(ctx context.Context, name, id string) error {
	ctx, cancel := context.WithTimeout(ctx, volumeMountDeadline)
	defer cancel()

	last := MountStatusSpec{Path: volumeMountPath(m.Dir, id), Error: "its container is being made"}

	_, err := m.State.WatchFor(ctx, NewMountStatus(VolumeMountContainer(id)).Metadata(),
		state.WithEventTypes(state.Created, state.Updated),
		state.WithCondition(func(r resource.Resource) (bool, error) {
			if status, ok := r.(*MountStatus); ok {
				last = *status.TypedSpec()
			}

			return last.Alive, nil
		}))
	if err != nil {
		return fmt.Errorf("wait for the mount of volume %s at %s: it doesn't answer yet (%s): it is tried again: %w: %w",
			name, last.Path, last.Error, volume.ErrUnavailable, err)
	}

	return nil
}

// Open opens the root of the volume's mount, after checking that it is one of
// MooseFS, that it lives, and that the master shows the volume's data through it.
// That the data is the volume's own its mark says, which lies above it: the
// caller has looked at that through the node-wide mount.
//
// The number of the root's inode would not tell: mfsmount calls the root of every
// mount 1, whatever directory it is.
func (m *VolumeMounts) Open(ctx context.Context, name, id string) (*os.File, error) {
	if err := check(name, id); err != nil {
		return nil, err
	}

	if _, err := safe.StateGetByID[*VolumeMountSpec](ctx, m.State, id); err != nil {
		if state.IsNotFoundError(err) {
			return nil, fmt.Errorf("volume %s has no mount of its own here: stage it first: %w", name, volume.ErrUnavailable)
		}

		return nil, fmt.Errorf("look for the mount of volume %s: %w", name, err)
	}

	path := volumeMountPath(m.Dir, id)

	root, err := volume.Run(ctx, m.calls, "open the mount of volume "+name, func(ctx context.Context) (*os.File, error) {
		return m.open(ctx, path)
	})
	if err != nil {
		return nil, err
	}

	err = m.shows(ctx, path, volume.PathOf(name))
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}

	return root, nil
}

func (m *VolumeMounts) open(ctx context.Context, path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("nothing is mounted at %s: %w", path, volume.ErrUnavailable)
	}

	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}

	root := os.NewFile(uintptr(fd), path)

	// Nobody takes what comes too late.
	if err := errors.Join(m.Verify(root), ctx.Err()); err != nil {
		return nil, errors.Join(err, root.Close())
	}

	return root, nil
}

// shows asks the master whether what is mounted at path is the directory root.
func (m *VolumeMounts) shows(ctx context.Context, path, root string) error {
	ctx, cancel := context.WithTimeout(ctx, sessionsCallDeadline)
	defer cancel()

	sessions, err := m.Sessions(ctx)
	if err != nil {
		return fmt.Errorf("ask the master what is mounted at %s: %w: %w", path, volume.ErrUnavailable, err)
	}

	found := false

	for _, s := range sessions {
		if !s.Connected || s.Address != m.Self || s.Path != path {
			continue
		}

		if s.Root != root {
			return fmt.Errorf("the mount at %s shows %s and not %s: stop the pods that use it: %w", path, s.Root, root, volume.ErrPrecondition)
		}

		found = true
	}

	if !found {
		return fmt.Errorf("the master knows no session of the mount at %s: try again: %w", path, volume.ErrUnavailable)
	}

	return nil
}

// Remove ends a volume's mount, if there is one, and returns when nothing is left
// of it: no container, nothing mounted, no mount point. Nobody may be using it.
func (m *VolumeMounts) Remove(ctx context.Context, id string) error {
	if err := volume.CheckName(id); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, volumeMountDeadline)
	defer cancel()

	err := m.State.Destroy(ctx, NewVolumeMountSpec(id).Metadata())
	if err != nil && !state.IsNotFoundError(err) {
		return fmt.Errorf("end the mount of volume %s: %w", id, err)
	}

	container := VolumeMountContainer(id)

	for _, left := range []resource.Pointer{
		containers.NewContainerSpec(container).Metadata(), containers.NewContainerStatus(container).Metadata(),
		NewMountStatus(container).Metadata(),
	} {
		_, err = m.State.WatchFor(ctx, left, state.WithEventTypes(state.Destroyed))
		if err != nil {
			return fmt.Errorf("wait for the end of %s: it is tried again: %w: %w", container, volume.ErrUnavailable, err)
		}
	}

	path := volumeMountPath(m.Dir, id)

	_, err = volume.Run(ctx, m.calls, "unmount "+path, func(context.Context) (struct{}, error) {
		return struct{}{}, m.Release(path)
	})
	if err != nil {
		return err
	}

	for _, log := range []string{container + ".log", container + ".log.1"} {
		err = os.Remove(filepath.Join(m.Logs, log))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove the log of %s: %w", container, err)
		}
	}

	// Last: until here the next antlerd has to know of it.
	return m.forget(id)
}
