package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/util/yaml"
)

// snapshotsPath is where the API server has the kinds of DefineSnapshots.
const snapshotsPath = "/apis/snapshot.storage.k8s.io/v1"

// DefineSnapshots makes VolumeSnapshots and their kin known, by the definitions in
// dir, and waits until they are served.
func (c *ControlPlane) DefineSnapshots(ctx context.Context, dir string) error {
	for _, plural := range []string{"volumesnapshotclasses", "volumesnapshotcontents", "volumesnapshots"} {
		content, err := os.ReadFile(filepath.Join(dir, "snapshot.storage.k8s.io_"+plural+".yaml"))
		if err != nil {
			return err
		}

		content, err = yaml.ToJSON(content)
		if err != nil {
			return err
		}

		if err := c.post(ctx, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", content); err != nil {
			return fmt.Errorf("define %s: %w", plural, err)
		}

		err = Await(ctx, plural+" are served", func() error {
			return c.Admin.RESTClient().Get().AbsPath(snapshotsPath, plural).Do(ctx).Error()
		})
		if err != nil {
			return err
		}
	}

	return nil
}

func (c *ControlPlane) post(ctx context.Context, path string, content []byte) error {
	return c.Admin.RESTClient().Post().AbsPath(path).SetHeader("Content-Type", "application/json").Body(content).Do(ctx).Error()
}

// SnapshotClass makes a VolumeSnapshotClass of the driver.
func (c *ControlPlane) SnapshotClass(ctx context.Context, name, driver string) error {
	return c.object(ctx, "volumesnapshotclasses", map[string]any{
		"kind": "VolumeSnapshotClass", "metadata": map[string]any{"name": name}, "driver": driver, "deletionPolicy": "Delete",
	})
}

// Snapshot asks for a snapshot of a claim's volume.
func (c *ControlPlane) Snapshot(ctx context.Context, name, class, claim string) error {
	return c.object(ctx, "namespaces/"+Namespace+"/volumesnapshots", map[string]any{
		"kind": "VolumeSnapshot", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"volumeSnapshotClassName": class, "source": map[string]any{"persistentVolumeClaimName": claim}},
	})
}

func (c *ControlPlane) object(ctx context.Context, path string, object map[string]any) error {
	object["apiVersion"] = "snapshot.storage.k8s.io/v1"

	content, err := json.Marshal(object)
	if err != nil {
		return err
	}

	return c.post(ctx, snapshotsPath+"/"+path, content)
}

// SnapshotContent is what tests look at of a VolumeSnapshotContent.
type SnapshotContent struct {
	Spec struct {
		Driver string `json:"driver"`
		Source struct {
			VolumeHandle string `json:"volumeHandle"`
		} `json:"source"`
	} `json:"spec"`
	Status struct {
		SnapshotHandle string `json:"snapshotHandle"`
		ReadyToUse     bool   `json:"readyToUse"`
	} `json:"status"`
}

// AwaitSnapshot waits until a VolumeSnapshot is ready, and returns its content.
func (c *ControlPlane) AwaitSnapshot(ctx context.Context, name string) (SnapshotContent, error) {
	var (
		snapshot struct {
			Status struct {
				Content string `json:"boundVolumeSnapshotContentName"`
				Ready   bool   `json:"readyToUse"`
				Size    string `json:"restoreSize"`
			} `json:"status"`
		}
		content SnapshotContent
	)

	err := Await(ctx, "VolumeSnapshot "+name+" is ready", func() error {
		err := c.read(ctx, &snapshot, "namespaces", Namespace, "volumesnapshots", name)
		if err == nil && !snapshot.Status.Ready {
			err = fmt.Errorf("its status is %+v", snapshot.Status)
		}

		return err
	})
	if err != nil {
		return content, err
	}

	return content, c.read(ctx, &content, "volumesnapshotcontents", snapshot.Status.Content)
}

// RemoveSnapshot deletes a VolumeSnapshot and waits until it and all contents are
// gone.
func (c *ControlPlane) RemoveSnapshot(ctx context.Context, name string) error {
	err := c.Admin.RESTClient().Delete().AbsPath(snapshotsPath, "namespaces", Namespace, "volumesnapshots", name).Do(ctx).Error()
	if err != nil {
		return err
	}

	return Await(ctx, "no VolumeSnapshot is left", func() error {
		var snapshots, contents struct {
			Items []json.RawMessage `json:"items"`
		}

		err := errors.Join(c.read(ctx, &snapshots, "volumesnapshots"), c.read(ctx, &contents, "volumesnapshotcontents"))
		if n, of := len(snapshots.Items), len(contents.Items); err == nil && n+of > 0 {
			err = fmt.Errorf("%d are, with %d contents", n, of)
		}

		return err
	})
}

func (c *ControlPlane) read(ctx context.Context, into any, path ...string) error {
	content, err := c.Admin.RESTClient().Get().AbsPath(append([]string{snapshotsPath}, path...)...).DoRaw(ctx)
	if err != nil {
		return err
	}

	return json.Unmarshal(content, into)
}
