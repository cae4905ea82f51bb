package kubernetes

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"antler/services/volume"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()

	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })

	return f
}

// listing returns every path below dir.
func listing(t *testing.T, dir string) []string {
	t.Helper()

	var out []string

	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		out = append(out, path)

		return err
	}))

	return out
}

// evilNames would lead elsewhere if they became part of a path.
func evilNames(outside string) []string {
	return []string{
		"..", ".", "../..", "../outside", "../../outside", "/etc", outside, "a/../../b", "a/b", ".archive", ".snapshots",
		".creating-a", "a\x00b", "a\nb", "-rf", "volumes/../..", "..%2f..", "${pv.name}", strings.Repeat("../", 80),
	}
}

// No handle leads out of the volumes, at no entry point.
func TestHandlesDontEscape(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(b.root, "outside")
	require.NoError(t, os.MkdirAll(filepath.Join(outside, "data"), 0o755))

	handle := b.create(t, "pvc-1", nil)
	before := listing(t, b.root)

	for _, name := range evilNames(outside) {
		for _, evil := range []string{name, name + ":" + uuid.NewString(), "pvc-1:" + name, handle + "/" + name, handle + name, ":" + name} {
			for call, err := range b.everyControllerCall(t, evil) {
				switch call {
				case "delete", "unpublish", "deleteSnapshot":
					require.NoError(t, err, "%s %q", call, evil)
				default:
					requireCode(t, codes.NotFound, err, call, evil)
				}
			}

			for call, err := range everyNodeCall(t, b.n1, evil, filepath.Join(b.n1.Kubelet, "staging"), filepath.Join(b.n1.Kubelet, "pod")) {
				if !strings.HasPrefix(call, "un") {
					requireCode(t, codes.NotFound, err, call, evil)
				}
			}

			none, err := b.controller.ListSnapshots(t.Context(), &csi.ListSnapshotsRequest{SnapshotId: evil})
			require.NoError(t, err)
			require.Empty(t, none.GetEntries())
		}
	}

	require.Equal(t, before, listing(t, b.root))
	require.Empty(t, b.mounter.mounts)
}

func everyNodeCall(t *testing.T, n *Node, handle, staging, target string) map[string]error {
	t.Helper()

	ctx, out := t.Context(), map[string]error{}
	_, out["stage"] = n.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: handle, StagingTargetPath: staging, VolumeCapability: capability(rwx)})
	_, out["publish"] = n.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{VolumeId: handle, StagingTargetPath: staging, TargetPath: target, VolumeCapability: capability(rwx)})
	_, out["stats"] = n.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: handle, VolumePath: target})
	_, out["expand"] = n.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{VolumeId: handle, VolumePath: target})
	_, out["unpublish"] = n.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: handle, TargetPath: target})
	_, out["unstage"] = n.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: handle, StagingTargetPath: staging})

	return out
}

// Whatever Kubernetes calls a volume or a snapshot, it becomes a name of its own
// and nothing else is touched.
func TestNamesDontEscape(t *testing.T) {
	b := newBench(t)
	outside := filepath.Join(b.root, "outside")
	require.NoError(t, os.Mkdir(outside, 0o755))

	source := b.create(t, "pvc-1", nil)
	seen := map[string]bool{}

	for _, evil := range evilNames(outside) {
		made, err := b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{Name: evil, VolumeCapabilities: []*csi.VolumeCapability{capability(rwx)}})
		require.NoError(t, err, "%q", evil)

		h, err := ParseHandle(made.GetVolume().GetVolumeId())
		require.NoError(t, err)
		require.NoError(t, volume.CheckName(h.Name))
		require.False(t, seen[h.Name], "two names met")

		seen[h.Name] = true

		taken, err := b.controller.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: evil, SourceVolumeId: source})
		require.NoError(t, err)

		_, err = ParseHandle(taken.GetSnapshot().GetSnapshotId())
		require.NoError(t, err)
	}

	entries, err := os.ReadDir(b.root)
	require.NoError(t, err)
	require.Len(t, entries, 2, "outside and volumes")
	require.Empty(t, listing(t, outside)[1:])
}

// Neither a template nor what a claim puts into it makes a path.
func TestTemplatesDontEscape(t *testing.T) {
	b := newBench(t)
	before := listing(t, b.root)

	for _, evil := range evilNames("/tmp") {
		for _, parameters := range []map[string]string{
			{paramNameTemplate: evil + "/${pv.name}", paramPV: "pvc-1"},
			{paramNameTemplate: "${pv.name}" + evil, paramPV: "pvc-1"},
			{paramNameTemplate: "${pvc.name}-${pv.name}", paramPV: "pvc-1", paramClaim: evil},
			{paramNameTemplate: "${pvc.namespace}${pv.name}", paramPV: "pvc-1", paramNamespace: evil},
			{paramNameTemplate: "${pv.name}", paramPV: evil},
		} {
			made, err := b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
				Name: "pvc-1", VolumeCapabilities: []*csi.VolumeCapability{capability(rwx)}, Parameters: parameters,
			})
			if err == nil {
				// Some are harmless, such as "a.b" or a second ${pv.name}.
				h, parseErr := ParseHandle(made.GetVolume().GetVolumeId())
				require.NoError(t, parseErr)
				require.Contains(t, h.Name, "pvc-1")

				continue
			}

			require.Equal(t, codes.InvalidArgument, status.Code(err), "%v: %v", parameters, err)
		}
	}

	after := listing(t, b.root)
	for _, path := range after {
		if !strings.HasPrefix(path, filepath.Join(b.root, "volumes")) {
			require.Contains(t, before, path)
		}
	}
}

// Only clean paths below kubelet's directory are mounted on or unmounted.
func TestPathsDontEscape(t *testing.T) {
	b := newBench(t)
	handle := b.create(t, "pvc-1", nil)
	kubelet := b.n1.Kubelet
	good := filepath.Join(kubelet, "staging")
	require.NoError(t, stage(t, b.n1, handle, rwx))

	for _, evil := range []string{
		"", "/", "/etc", "etc", "staging", kubelet, kubelet + "/", kubelet + "/..", kubelet + "/../x", kubelet + "/a/../../x", kubelet + "x/a",
		kubelet + "//a", kubelet + "/a/", kubelet + "/a/./b", kubelet + "/a\x00b",
	} {
		for call, err := range everyNodeCall(t, b.n1, handle, evil, evil) {
			want := codes.InvalidArgument
			if (call == "stats" || call == "expand") && evil != "" {
				want = codes.NotFound // nothing is mounted there
			}

			requireCode(t, want, err, call, evil)
		}

		_, err := b.n1.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{
			VolumeId: handle, StagingTargetPath: good, TargetPath: evil, VolumeCapability: capability(rwx),
		})
		requireCode(t, codes.InvalidArgument, err, evil)
	}

	require.Len(t, b.mounter.mounts, 1)
}

// What a parser accepts is one path component with a UUID, and comes out as it
// went in.
func FuzzParseHandle(f *testing.F) {
	for _, seed := range append(evilNames("/tmp"), "pvc-1:6f1f5f0e-8b1c-4d0a-9c39-0a2f4b1d7e11", "a:b", "a:b:c", ":") {
		f.Add(seed)
	}

	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHandle(text)
		if err != nil {
			return
		}

		if h.String() != text {
			t.Fatalf("%q came out as %q", text, h)
		}

		if strings.ContainsAny(text, "/\\\x00 ") || strings.Contains(text, "..") || filepath.Base(h.Name) != h.Name || h.Name[0] == '.' {
			t.Fatalf("%q is not a component", text)
		}
	})
}

// What a template makes of anything is a volume's name, and two persistent
// volumes never share one made with the same claim.
func FuzzTemplate(f *testing.F) {
	for _, seed := range evilNames("/tmp") {
		f.Add(seed, seed, seed, seed)
		f.Add("${pv.name}", seed, seed, seed)
		f.Add("${pvc.namespace}-${pvc.name}-${pv.name}", "db", seed, "pvc-1")
	}

	f.Fuzz(func(t *testing.T, text, claim, namespace, pv string) {
		template, err := ParseTemplate(text)
		if err != nil {
			return
		}

		parameters := map[string]string{paramClaim: claim, paramNamespace: namespace, paramPV: pv}

		name, err := template.name(parameters)
		if err != nil {
			return
		}

		if volume.CheckName(name) != nil || strings.HasPrefix(name, hashed) {
			t.Fatalf("%q made %q", text, name)
		}

		parameters[paramPV] = pv + "x"

		if other, err := template.name(parameters); err == nil && other == name {
			t.Fatalf("%q made %q of two volumes", text, name)
		}
	})
}

// Every name becomes one that a volume can have, and the same one each time.
func FuzzName(f *testing.F) {
	for _, seed := range append(evilNames("/tmp"), "csi-", "pvc-1") {
		f.Add(seed)
	}

	f.Fuzz(func(t *testing.T, text string) {
		name := nameFor(text)
		if volume.CheckName(name) != nil || name != nameFor(text) {
			t.Fatalf("%q became %q", text, name)
		}

		if name != text && nameFor(name) == name {
			t.Fatalf("%q and %q share a name", text, name)
		}
	})
}
