package kubernetes

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"antler/services/volume"
)

// pod asks for one volume as kubelet does, with what its persistent volume says.
type pod struct {
	*testing.T

	node    *Node
	handle  string
	context map[string]string
	flags   []string
}

func (p pod) stage() error {
	_, err := p.node.NodeStageVolume(p.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: p.handle, StagingTargetPath: filepath.Join(p.node.Kubelet, "staging"),
		VolumeCapability: capability(rwo, p.flags...), VolumeContext: p.context,
	})

	return err
}

func (p pod) publish() error {
	_, err := p.node.NodePublishVolume(p.Context(), &csi.NodePublishVolumeRequest{
		VolumeId: p.handle, StagingTargetPath: filepath.Join(p.node.Kubelet, "staging"), TargetPath: filepath.Join(p.node.Kubelet, "pod"),
		VolumeCapability: capability(rwo, p.flags...), VolumeContext: p.context,
	})

	return err
}

func (b *bench) own() map[string][]string { return b.n1.Own.(*fakeOwn).options }

// ownVolume makes a volume of a class with mounts per volume.
func (b *bench) ownVolume(t *testing.T, flags ...string) pod {
	t.Helper()

	made, err := b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{capability(rwo, flags...)},
		Parameters: map[string]string{"mountMode": "volume"},
	})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"mountMode": "volume"}, made.GetVolume().GetVolumeContext())

	return pod{t, b.n1, made.GetVolume().GetVolumeId(), made.GetVolume().GetVolumeContext(), flags}
}

func TestMountPerVolume(t *testing.T) {
	b := newBench(t)
	p := b.ownVolume(t, "noexec", "mfscachemode=DIRECT", "mfsnoxattrs")

	for range 2 {
		require.NoError(t, p.stage(), "idempotent")
		require.NoError(t, p.publish(), "idempotent")
	}

	require.Equal(t, map[string][]string{p.handle: {"mfscachemode=DIRECT", "mfsnoxattrs"}}, b.own())
	require.Len(t, b.mounter.mounts, 2)
	require.True(t, b.mounter.mounts[0].Own && b.mounter.mounts[1].Own)
	require.EqualValues(t, unix.MOUNT_ATTR_NOEXEC, b.mounter.attributes[filepath.Join(b.n1.Kubelet, "pod")])

	// Its file system is not taken from under a pod.
	requireCode(t, codes.FailedPrecondition, unstage(t, b.n1, p.handle))
	require.Len(t, b.own(), 1)

	require.NoError(t, unpublish(t, b.n1, p.handle, "pod"))
	require.NoError(t, unstage(t, b.n1, p.handle))
	require.NoError(t, unstage(t, b.n1, p.handle), "idempotent")
	require.Empty(t, b.own())
	require.NoError(t, stage(t, b.n2, p.handle, rwo), "the volume is free")
}

// The node-wide mount is used where nothing else is asked for.
func TestSharedMountIsTheDefault(t *testing.T) {
	for _, context := range []map[string]string{nil, {"mountMode": "shared"}, {"csi.storage.k8s.io/pod.name": "db"}} {
		b := newBench(t)
		p := pod{T: t, node: b.n1, handle: b.create(t, "pvc-1", nil), context: context}
		require.NoError(t, p.stage())
		require.NoError(t, p.publish())
		require.Empty(t, b.own())
		require.False(t, b.mounter.mounts[1].Own)
	}
}

// Nothing is bound before the volume's own mount lives and was checked; the use
// ends when trying again won't help.
func TestNothingIsBoundWithoutTheVolumesMount(t *testing.T) {
	for name, c := range map[string]struct {
		ensure, open error
		want, second codes.Code
	}{
		"not there yet":   {ensure: volume.ErrUnavailable, want: codes.Unavailable, second: codes.FailedPrecondition},
		"gives no answer": {open: volume.ErrUnavailable, want: codes.Unavailable, second: codes.FailedPrecondition},
		"other options":   {ensure: volume.ErrPrecondition, want: codes.FailedPrecondition, second: codes.OK},
		"another volume":  {open: volume.ErrPrecondition, want: codes.FailedPrecondition, second: codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			p := b.ownVolume(t)
			b.n1.Own.(*fakeOwn).ensure, b.n1.Own.(*fakeOwn).open = c.ensure, c.open

			requireCode(t, c.want, p.stage())
			require.Empty(t, b.mounter.mounts)
			requireCode(t, c.second, stage(t, b.n2, p.handle, rwo))

			if c.second == codes.OK {
				require.Empty(t, b.own())
			}
		})
	}
}

// A mount that has died since the volume was staged is an error of publish, which
// never makes one.
func TestPublishMakesNoMount(t *testing.T) {
	b := newBench(t)
	p := b.ownVolume(t)
	require.NoError(t, p.stage())
	clear(b.own())

	requireCode(t, codes.Unavailable, p.publish())
	require.Len(t, b.mounter.mounts, 1)
	require.Empty(t, b.own())

	health, err := b.n1.NodeGetVolumeHealth(t.Context(), &csi.NodeGetVolumeHealthRequest{VolumeId: p.handle})
	require.NoError(t, err)
	require.Equal(t, "NotReachable", health.GetVolumeHealth().GetHealthStatuses()[0].GetReason())
}

// The use of a volume ends only when its mount surely has.
func TestVolumesMountThatStaysKeepsTheUse(t *testing.T) {
	b := newBench(t)
	p := b.ownVolume(t)
	require.NoError(t, p.stage())

	b.n1.Own.(*fakeOwn).remove = volume.ErrUnavailable
	requireCode(t, codes.Unavailable, unstage(t, b.n1, p.handle))
	requireCode(t, codes.FailedPrecondition, stage(t, b.n2, p.handle, rwo))

	b.n1.Own.(*fakeOwn).remove = nil
	require.NoError(t, unstage(t, b.n1, p.handle))
	require.NoError(t, stage(t, b.n2, p.handle, rwo))
}

func TestVolumeMountedInTheOtherMode(t *testing.T) {
	b := newBench(t)
	p := b.ownVolume(t)
	require.NoError(t, stage(t, b.n1, p.handle, rwo))
	requireCode(t, codes.AlreadyExists, p.stage())
	require.Len(t, b.mounter.mounts, 1)
	require.False(t, b.mounter.mounts[0].Own)
}

// A use without a mount in kubelet's directory takes the volume's own mount with
// it: kubelet would have staged it first.
func TestOrphanedMountOfAVolume(t *testing.T) {
	b := newBench(t)
	p := b.ownVolume(t)
	require.NoError(t, p.stage())
	b.mounter.mounts = nil

	o := &Orphans{Node: b.n1, Volumes: b.controller}
	require.NoError(t, o.Pass(t.Context()))
	require.Len(t, b.own(), 1, "a call may be about to mount it")
	require.NoError(t, o.Pass(t.Context()))
	require.Empty(t, b.own())
	require.NoError(t, stage(t, b.n2, p.handle, rwo))
}

// What an option could smuggle into mfsmount's configuration, at each call that
// takes one. The error names the option, and what may be had.
func TestOptionsDontEscape(t *testing.T) {
	b := newBench(t)
	p := b.ownVolume(t)
	before := listing(t, b.root)

	for _, evil := range []string{
		"mfssubfolder=/", "mfsmaster=10.0.0.9", "mfspassword=x", "mfspassfile=/etc/shadow", "mfscfgfile=/etc/shadow", "mfsbind=10.0.0.9",
		"mfsmeta", "mfsdev", "mfssuid", "mfsfsyncmintime=60", "mfsioretries=1", "mfstimeout=1", "mfsdebug", "nonempty", "suid", "dev", "bind", "remount",
		"-S /", "-o mfssubfolder=/", "", "=", "mfscachemode", "mfscachemode=", "mfscachemode=auto", "mfscachemode=AUTO\nmfssubfolder=/",
		"mfscachemode=AUTO,mfssubfolder=/", "mfsattrcacheto=1\nmfsmeta", "mfsattrcacheto=-1", "mfsattrcacheto=NaN", "mfsattrcacheto=inf", "mfsattrcacheto=1e3",
		"mfsattrcacheto=0x1p3", "mfsattrcacheto=99999999", "mfsattrcacheto=", "mfswritecachesize=0", "mfswritecachesize=15", "mfswritecachesize=2049",
		"mfswritecachesize=+16", "mfswritecachesize=16 ", "mfsnoxattrs=1", "mfsnoxattrs\nmfsmeta", " mfsnoxattrs", "../../x", "/etc",
	} {
		p.flags = []string{evil}

		_, created := b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
			Name: "pvc-2", VolumeCapabilities: []*csi.VolumeCapability{capability(rwo, evil)}, Parameters: map[string]string{"mountMode": "volume"},
		})

		for call, err := range map[string]error{"create": created, "stage": p.stage(), "publish": p.publish()} {
			requireCode(t, codes.InvalidArgument, err, call, evil)
			require.ErrorContains(t, err, "mount_flags[0]")
		}
	}

	p.flags = []string{"mfsdebug"}
	require.ErrorContains(t, p.stage(), `"mfsdebug" can't be had: use noatime, nodev, nodiratime, noexec, nosuid, relatime, ro, rw, mfsattrcacheto, mfscachemode`)

	p.flags = []string{"mfscachemode=NO", "mfscachemode=AUTO"}
	require.ErrorContains(t, p.stage(), "mount_flags[1]: mfscachemode is there twice")

	p.context, p.flags = nil, []string{"mfscachemode=NO"}
	require.ErrorContains(t, p.stage(), `"mfscachemode" is of mfsmount, and the volume shares the node's`)

	require.Empty(t, b.own())
	require.Equal(t, before, listing(t, b.root))
}

// Neither a volume's attributes nor a handle that is staged with them lead
// anywhere.
func TestAttributesDontEscape(t *testing.T) {
	b := newBench(t)
	p := b.ownVolume(t)

	for _, evil := range append(evilNames("/tmp"), "", "VOLUME", "volume ", "shared,volume") {
		p.context = map[string]string{"mountMode": evil}
		requireCode(t, codes.InvalidArgument, p.stage(), evil)
		requireCode(t, codes.InvalidArgument, p.publish(), evil)

		_, err := b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
			Name: "pvc-2", VolumeCapabilities: []*csi.VolumeCapability{capability(rwo)}, Parameters: p.context,
		})
		requireCode(t, codes.InvalidArgument, err, evil)

		q := pod{T: t, node: b.n1, handle: evil + ":6f1f5f0e-8b1c-4d0a-9c39-0a2f4b1d7e11", context: map[string]string{"mountMode": "volume"}}
		require.Error(t, q.stage(), evil)
		require.Error(t, q.publish(), evil)
	}

	p.context = map[string]string{"mountmode": "volume"}
	require.ErrorContains(t, p.stage(), "volume_context.mountmode: is unknown")
	require.Empty(t, b.own())
	require.Empty(t, b.mounter.mounts)
}

// A mode is a property of the persistent volume, so a VolumeAttributesClass can't
// change it.
func TestMountModeCantBeChanged(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)

	_, err := b.controller.ControllerModifyVolume(t.Context(), &csi.ControllerModifyVolumeRequest{
		VolumeId: handle, MutableParameters: map[string]string{"mountMode": "volume"},
	})
	requireCode(t, codes.InvalidArgument, err)
	require.ErrorContains(t, err, "set it in the StorageClass")
}

// What is accepted is one line of mfsmount's configuration, of an option that is
// known.
func FuzzOptions(f *testing.F) {
	for name := range mfsOptions() {
		for _, value := range []string{"", "=", "=1", "=AUTO", "=16", "=0.5\n"} {
			f.Add(name + value)
		}
	}

	f.Fuzz(func(t *testing.T, option string) {
		_, mfs, err := parseOptions("f", []string{option}, MountVolume)
		if err != nil || len(mfs) == 0 {
			return
		}

		known := slices.ContainsFunc(slices.Collect(maps.Keys(mfsOptions())), func(name string) bool {
			rest, found := strings.CutPrefix(mfs[0], name)

			return found && (rest == "" || rest[0] == '=')
		})
		if !known || slices.ContainsFunc([]byte(mfs[0]), func(c byte) bool { return c <= ' ' || c == ',' || c == '/' || c > 'z' }) {
			t.Fatalf("%q became %q", option, mfs)
		}
	})
}
