//go:build controlplane

package provisioner

import (
	"os"
	"path/filepath"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"antler/services/kubernetes"
)

const snapshotGroup = "snapshot.storage.k8s.io"

// snapshotted begins with a cluster that has no VolumeSnapshots: the provisioner
// notices when they come.
func (k *trial) snapshotted() {
	crds := os.Getenv("ANTLER_CRDS")
	require.NotEmpty(k, crds, "ANTLER_CRDS: is not set: run `make test-provisioner`")
	require.NoError(k, k.DefineSnapshots(k.ctx, crds))
	require.NoError(k, k.SnapshotClass(k.ctx, "moosefs", kubernetes.DriverName))
	require.NoError(k, k.SnapshotClass(k.ctx, "others", "else.csi"))

	k.make(k.claimOf("source", "moosefs"))

	_, pv := k.bind("source")
	file := filepath.Join(k.at(pv), "f")
	require.NoError(k, os.WriteFile(file, []byte("one"), 0o600))

	begin := time.Now()

	require.NoError(k, k.Snapshot(k.ctx, "s", "moosefs", "source"))

	content, err := k.AwaitSnapshot(k.ctx, "s")
	require.NoError(k, err)
	require.Equal(k, pv.Spec.CSI.VolumeHandle, content.Spec.Source.VolumeHandle)
	require.True(k, content.Status.ReadyToUse)

	k.result.Figures["ready_ms"] = time.Since(begin).Milliseconds()

	require.NoError(k, os.WriteFile(file, []byte("two"), 0o600))

	group := snapshotGroup
	claim := k.claimOf("restored", "moosefs")
	claim.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: &group, Kind: "VolumeSnapshot", Name: "s"}
	k.make(claim)

	_, to := k.bind("restored")
	restored, err := os.ReadFile(filepath.Join(k.at(to), "f"))
	require.NoError(k, err)
	require.Equal(k, "one", string(restored))

	// Another one follows it, so that what is left of the first would be seen.
	require.NoError(k, k.Snapshot(k.ctx, "wrong", "moosefs", "no-such-claim"))
	k.awaitEvent("wrong", "SnapshotFailed", "no-such-claim")
	require.NoError(k, k.Admin.RESTClient().Delete().AbsPath("/apis", snapshotGroup, "v1/namespaces", namespace, "volumesnapshots/wrong").Do(k.ctx).Error())
	require.NoError(k, k.RemoveSnapshot(k.ctx, "s"))

	left, err := k.n1.store.ListSnapshots(k.ctx)
	require.NoError(k, err)
	require.Empty(k, left)

	k.remove("restored")
	k.remove("source")
}
