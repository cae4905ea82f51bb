package moosefs

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/rtestutils"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"antler/services/containers"
	"antler/services/moosefs/protocol"
	"antler/services/resources"
	"antler/services/volume"
)

const someID = "6f1f5f0e-8b1c-4d0a-9c39-0a2f4b1d7e11"

// runningContainers are containers that run as soon as they are asked for, and
// end as soon as they aren't. What they mount is a directory.
type runningContainers struct{}

func (runningContainers) Name() string { return "containers.Controller" }

func (runningContainers) Inputs() []controller.Input {
	return []controller.Input{{Namespace: resources.Namespace, Type: containers.ContainerSpecType, Kind: controller.InputWeak}}
}

func (runningContainers) Outputs() []controller.Output {
	return []controller.Output{{Type: containers.ContainerStatusType, Kind: controller.OutputExclusive}}
}

func (runningContainers) Run(ctx context.Context, r controller.Runtime, _ *zap.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		}

		r.StartTrackingOutputs()

		specs, err := safe.ReaderListAll[*containers.ContainerSpec](ctx, r)
		if err != nil {
			return err
		}

		for spec := range specs.All() {
			err = os.MkdirAll(spec.TypedSpec().Mounts[0].Source, 0o755)
			if err != nil {
				return err
			}

			err = safe.WriterModify(ctx, r, containers.NewContainerStatus(spec.Metadata().ID()), func(s *containers.ContainerStatus) error {
				s.TypedSpec().Running = true

				return nil
			})
			if err != nil {
				return err
			}
		}

		err = safe.CleanupOutputs[*containers.ContainerStatus](ctx, r)
		if err != nil {
			return err
		}
	}
}

// mountBench has the mounts of a node whose master shows the sessions.
type mountBench struct {
	*VolumeMounts

	sessions []protocol.SessionRoot
	verify   error
}

func newMountBench(t *testing.T) (context.Context, *mountBench) {
	t.Helper()

	dir := t.TempDir()
	ctx, st := startControllers(t,
		&VolumeMountController{Dir: dir + "/mounts"}, runningContainers{},
		&MountStatusController{Prober: fakeProber{}, VolumeDir: dir + "/mounts"})

	b := &mountBench{}
	b.VolumeMounts = NewVolumeMounts(VolumeMounts{
		State: st, Dir: dir + "/mounts", Records: dir + "/records", Logs: dir, Self: netip.MustParseAddr("10.0.0.1"),
		Sessions: func(context.Context) ([]protocol.SessionRoot, error) { return b.sessions, nil },
		Verify:   func(*os.File) error { return b.verify }, Release: os.RemoveAll,
	})
	b.sessions = []protocol.SessionRoot{b.session("10.0.0.1", "/volumes/db/data")}

	return ctx, b
}

// session is one of someID's mount.
func (b *mountBench) session(address, root string) protocol.SessionRoot {
	return protocol.SessionRoot{
		Session: protocol.Session{Address: netip.MustParseAddr(address), Connected: true, Path: filepath.Join(b.Dir, someID)}, Root: root,
	}
}

func TestVolumeMountComesAndGoes(t *testing.T) {
	ctx, b := newMountBench(t)
	options := []string{"mfscachemode=DIRECT", "mfsnoxattrs"}

	for range 2 {
		require.NoError(t, b.Ensure(ctx, "db", someID, options), "idempotent")
	}

	rtestutils.AssertResource(ctx, t, b.State, "mfsvolume-"+someID, func(c *containers.ContainerSpec, assert *assert.Assertions) {
		spec, path := c.TypedSpec(), filepath.Join(b.Dir, someID)
		assert.Equal([]string{"/usr/bin/mfsmount", "-f", path}, spec.Args)
		assert.Equal([]containers.Mount{{Source: path, Destination: path, Shared: true}}, spec.Mounts)
		assert.True(strings.HasSuffix(spec.Files[mountConfig].Content, "\nmfssubfolder=/volumes/db/data\nmfscachemode=DIRECT\nmfsnoxattrs\n"))
		assert.Contains(spec.Files[mountConfig].Content, "mfspassword=client-secret\n", "without the admin flag")
		assert.False(spec.RestartOnChange, "a pod has files open")
	})
	rtestutils.AssertResource(ctx, t, b.State, "mfsvolume-"+someID, func(s *MountStatus, assert *assert.Assertions) {
		assert.Equal(MountStatusSpec{Path: filepath.Join(b.Dir, someID), Volume: "db", Mounted: true, Alive: true}, *s.TypedSpec())
	})

	root, err := b.Open(ctx, "db", someID)
	require.NoError(t, err)
	require.NoError(t, root.Close())

	require.ErrorIs(t, b.Ensure(ctx, "db", someID, nil), volume.ErrPrecondition, "its pods have the options that they were started with")
	require.ErrorIs(t, b.Ensure(ctx, "other", someID, options), volume.ErrPrecondition)

	require.NoError(t, os.WriteFile(filepath.Join(b.Logs, "mfsvolume-"+someID+".log"), nil, 0o600))

	for range 2 {
		require.NoError(t, b.Remove(ctx, someID), "idempotent")
	}

	for _, dir := range []string{b.Dir, b.Records} {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries)
	}

	require.NoFileExists(t, filepath.Join(b.Logs, "mfsvolume-"+someID+".log"))
	rtestutils.AssertNoResource[*containers.ContainerStatus](ctx, t, b.State, "mfsvolume-"+someID)
}

// A container that was there before antlerd was restarted is asked for again, with
// the same options; after a reboot there are no records.
func TestVolumeMountsAreRestored(t *testing.T) {
	ctx, before := newMountBench(t)
	require.NoError(t, before.Ensure(ctx, "db", someID, []string{"mfscachemode=NO"}))
	require.NoError(t, os.WriteFile(filepath.Join(before.Records, "."+someID), []byte("{"), 0o600), "one that was begun")

	ctx, after := newMountBench(t)
	after.Records = before.Records
	require.NoError(t, after.Restore(ctx))
	rtestutils.AssertResource(ctx, t, after.State, "mfsvolume-"+someID, func(c *containers.ContainerSpec, assert *assert.Assertions) {
		assert.Contains(c.TypedSpec().Files[mountConfig].Content, "mfssubfolder=/volumes/db/data\nmfscachemode=NO\n")
	})

	ctx, rebooted := newMountBench(t)
	require.NoError(t, rebooted.Restore(ctx))
	rtestutils.AssertNoResource[*VolumeMountSpec](ctx, t, rebooted.State, someID)
	_, err := rebooted.Open(ctx, "db", someID)
	require.ErrorIs(t, err, volume.ErrUnavailable)
	require.ErrorContains(t, err, "stage it first")
}

func TestDamagedRecordKeepsNoOther(t *testing.T) {
	ctx, b := newMountBench(t)
	require.NoError(t, os.Mkdir(b.Records, 0o700))

	for name, content := range map[string]string{
		"aaaa": "{", "bbbb": `{"volume":"../outside"}`, "BBBB": `{"volume":"db"}`, someID: `{"volume":"db"}`,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(b.Records, name), []byte(content), 0o600))
	}

	err := b.Restore(ctx)
	require.ErrorContains(t, err, "aaaa")
	require.ErrorContains(t, err, "bbbb")
	require.ErrorContains(t, err, "BBBB")
	rtestutils.AssertResources(ctx, t, b.State, []resource.ID{someID}, func(*VolumeMountSpec, *assert.Assertions) {})
}

// The mount has to be what the master shows to this very session.
func TestVolumeMountIsChecked(t *testing.T) {
	ctx, b := newMountBench(t)
	require.NoError(t, b.Ensure(ctx, "db", someID, nil))

	gone, elsewhere := b.session("10.0.0.1", "/volumes/db/data"), b.session("10.0.0.2", "/volumes/db/data")
	gone.Connected = false
	another := b.session("10.0.0.1", "/volumes/db/data")
	another.Path = filepath.Join(b.Dir, "another")

	for name, c := range map[string]struct {
		sessions []protocol.SessionRoot
		verify   error
		want     error
	}{
		"no session":               {want: volume.ErrUnavailable},
		"not connected":            {sessions: []protocol.SessionRoot{gone}, want: volume.ErrUnavailable},
		"of another node":          {sessions: []protocol.SessionRoot{elsewhere}, want: volume.ErrUnavailable},
		"of another mount":         {sessions: []protocol.SessionRoot{another}, want: volume.ErrUnavailable},
		"another volume":           {sessions: []protocol.SessionRoot{b.session("10.0.0.1", "/volumes/dc/data")}, want: volume.ErrPrecondition},
		"all of MooseFS":           {sessions: []protocol.SessionRoot{b.session("10.0.0.1", "/")}, want: volume.ErrPrecondition},
		"deleted":                  {sessions: []protocol.SessionRoot{b.session("10.0.0.1", "/volumes/.archive/db/data")}, want: volume.ErrPrecondition},
		"not mounted":              {sessions: b.sessions, verify: volume.ErrUnavailable, want: volume.ErrUnavailable},
		"the session and an older": {sessions: append([]protocol.SessionRoot{gone, elsewhere}, b.sessions...)},
	} {
		t.Run(name, func(t *testing.T) {
			checked := *b
			mounts := *b.VolumeMounts
			mounts.Sessions = func(context.Context) ([]protocol.SessionRoot, error) { return c.sessions, nil }
			mounts.Verify = func(*os.File) error { return c.verify }
			checked.VolumeMounts = &mounts

			root, err := checked.Open(ctx, "db", someID)
			require.ErrorIs(t, err, c.want)

			if c.want == nil {
				require.NoError(t, root.Close())
			}
		})
	}

	b.Sessions = func(context.Context) ([]protocol.SessionRoot, error) { return nil, errors.New("no route to host") }
	_, err := b.Open(ctx, "db", someID)
	require.ErrorIs(t, err, volume.ErrUnavailable)
}

// A link where the mount point belongs leads nowhere.
func TestLinkAtAVolumesMountPoint(t *testing.T) {
	ctx, b := newMountBench(t)
	require.NoError(t, b.Ensure(ctx, "db", someID, nil))

	// In one step: the controller makes a directory that is missing.
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(t.TempDir(), link))
	require.NoError(t, unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, filepath.Join(b.Dir, someID), unix.RENAME_EXCHANGE))

	_, err := b.Open(ctx, "db", someID)
	require.ErrorIs(t, err, volume.ErrPrecondition)
}

// Neither a name nor an id becomes more than one component of a path, or another
// line of mfsmount's configuration.
func TestVolumeMountsDontEscape(t *testing.T) {
	ctx, b := newMountBench(t)

	for _, evil := range []string{
		"", ".", "..", "../..", "/", "/etc", "a/b", "a\nmfsmeta", "a,mfsmeta", "a b", "-rf", ".hidden", "a\x00b", strings.Repeat("a", 64), "a..b",
	} {
		require.ErrorIs(t, b.Ensure(ctx, evil, someID, nil), volume.ErrInvalid, evil)
		require.ErrorIs(t, b.Ensure(ctx, "db", evil, nil), volume.ErrInvalid, evil)
		require.ErrorIs(t, b.Remove(ctx, evil), volume.ErrInvalid, evil)

		_, err := b.Open(ctx, evil, someID)
		require.ErrorIs(t, err, volume.ErrInvalid, evil)
		_, err = b.Open(ctx, "db", evil)
		require.ErrorIs(t, err, volume.ErrInvalid, evil)
	}

	rtestutils.AssertNoResource[*VolumeMountSpec](ctx, t, b.State, someID)
	require.NoDirExists(t, b.Records)
	require.NoDirExists(t, b.Dir)
}

// What is still mounted keeps the record: the next antlerd must know of it.
func TestFailedRemovalIsNotForgotten(t *testing.T) {
	ctx, b := newMountBench(t)
	require.NoError(t, b.Ensure(ctx, "db", someID, nil))

	b.Release = func(string) error { return errors.New("fuse.mfs is still mounted") }
	require.ErrorContains(t, b.Remove(ctx, someID), "still mounted")
	require.FileExists(t, filepath.Join(b.Records, someID))

	b.Release = os.RemoveAll
	require.NoError(t, b.Remove(ctx, someID))
	require.NoFileExists(t, filepath.Join(b.Records, someID))
}

// Every wait has an end, and says what it waits for.
func TestVolumeMountThatDoesNotCome(t *testing.T) {
	ctx, st := startControllers(t)
	m := NewVolumeMounts(VolumeMounts{State: st, Dir: t.TempDir(), Records: t.TempDir()})

	status := NewMountStatus(VolumeMountContainer(someID))
	status.TypedSpec().Error = "no connection to a master"
	require.NoError(t, st.Create(ctx, status))

	short, cancel := context.WithTimeout(ctx, 0)
	defer cancel()

	err := m.await(short, "db", someID)
	require.ErrorIs(t, err, volume.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	require.NoError(t, st.Create(ctx, NewVolumeMountSpec(someID)))
	require.ErrorIs(t, m.Remove(short, someID), volume.ErrUnavailable)
}
