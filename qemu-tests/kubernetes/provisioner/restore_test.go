//go:build controlplane

package provisioner

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"antler/services/kubernetes"
)

type object = map[string]any

const snapshotGroup = "snapshot.storage.k8s.io"

// restored has the test do what external-snapshotter does, which isn't there:
// have the driver take a snapshot, and tell the API server of it.
func (k *trial) restored() {
	k.make(k.claimOf("source", "moosefs"))

	_, pv := k.bind("source")
	file := filepath.Join(k.at(pv), "f")
	require.NoError(k, os.WriteFile(file, []byte("one"), 0o600))

	v, err := k.volumeOf(pv)
	require.NoError(k, err)

	taken, err := k.n1.store.CreateSnapshot(k.ctx, "snapshot-1", v.Name, v.ID, nil)
	require.NoError(k, err)
	require.NoError(k, os.WriteFile(file, []byte("two"), 0o600))

	k.define("VolumeSnapshot", "Namespaced")
	k.define("VolumeSnapshotContent", "Cluster")

	of := k.post("namespaces/"+namespace+"/volumesnapshots", object{
		"kind": "VolumeSnapshot", "metadata": object{"name": "s"},
		"status": object{"boundVolumeSnapshotContentName": "content", "readyToUse": true},
	})
	k.post("volumesnapshotcontents", object{
		"kind": "VolumeSnapshotContent", "metadata": object{"name": "content"},
		"spec":   object{"driver": kubernetes.DriverName, "volumeSnapshotRef": object{"name": "s", "namespace": namespace, "uid": of}},
		"status": object{"snapshotHandle": kubernetes.Handle{Name: taken.Name, ID: taken.ID}.String()},
	})

	group := snapshotGroup
	claim := k.claimOf("restored", "moosefs")
	claim.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: &group, Kind: "VolumeSnapshot", Name: "s"}
	k.make(claim)

	_, to := k.bind("restored")
	content, err := os.ReadFile(filepath.Join(k.at(to), "f"))
	require.NoError(k, err)
	require.Equal(k, "one", string(content))

	require.NoError(k, k.n1.store.DeleteSnapshot(k.ctx, taken.Name, taken.ID))
	k.remove("restored")
	k.remove("source")
}

// define makes a kind known, with any content.
func (k *trial) define(kind, scope string) {
	k.Helper()

	plural := strings.ToLower(kind) + "s"
	content, err := json.Marshal(object{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": object{
			"name":        plural + "." + snapshotGroup,
			"annotations": object{"api-approved.kubernetes.io": "unapproved, for a test"},
		},
		"spec": object{
			"group": snapshotGroup, "scope": scope, "names": object{"plural": plural, "singular": strings.ToLower(kind), "kind": kind},
			"versions": []any{object{
				"name": "v1", "served": true, "storage": true,
				"schema": object{"openAPIV3Schema": object{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	})
	require.NoError(k, err)
	require.NoError(k, k.Admin.RESTClient().Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").
		SetHeader("Content-Type", "application/json").Body(content).Do(k.ctx).Error())

	await(k.ctx, k.T, kind+" is served", func() error {
		return k.Admin.RESTClient().Get().AbsPath("/apis/"+snapshotGroup+"/v1", plural).Do(k.ctx).Error()
	})
}

// post creates an object and returns its UID.
func (k *trial) post(path string, o object) types.UID {
	k.Helper()

	o["apiVersion"] = snapshotGroup + "/v1"

	content, err := json.Marshal(o)
	require.NoError(k, err)

	answer, err := k.Admin.RESTClient().Post().AbsPath("/apis/"+snapshotGroup+"/v1", path).
		SetHeader("Content-Type", "application/json").Body(content).DoRaw(k.ctx)
	require.NoError(k, err, string(answer))

	var made metav1.PartialObjectMetadata

	require.NoError(k, json.Unmarshal(answer, &made))

	return made.UID
}
