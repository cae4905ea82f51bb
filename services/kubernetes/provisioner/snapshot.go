package provisioner

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"antler/services/kubernetes"
)

// snapshotGroup is the API group of VolumeSnapshot and VolumeSnapshotContent.
const snapshotGroup = "snapshot.storage.k8s.io"

// The resources of the group.
const (
	resourceSnapshots = "volumesnapshots"
	resourceContents  = "volumesnapshotcontents"
	resourceClasses   = "volumesnapshotclasses"
)

func snapshotVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: snapshotGroup, Version: "v1"}
}

// VolumeSnapshot is what counts of one. Its kinds come with CRDs that a cluster
// may not have, so client-go has no client for them.
type VolumeSnapshot struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Class  string `json:"volumeSnapshotClassName"`
		Source struct {
			Claim string `json:"persistentVolumeClaimName"`
		} `json:"source"`
	} `json:"spec"`
	Status struct {
		Content string `json:"boundVolumeSnapshotContentName"`
		Ready   bool   `json:"readyToUse"`
	} `json:"status"`
}

// VolumeSnapshotContent is what counts of one.
type VolumeSnapshotContent struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Driver         string `json:"driver"`
		DeletionPolicy string `json:"deletionPolicy"`
		Ref            struct {
			UID types.UID `json:"uid"`
		} `json:"volumeSnapshotRef"`
	} `json:"spec"`
	Status struct {
		Handle string `json:"snapshotHandle"`
	} `json:"status"`
}

// VolumeSnapshotClass is what counts of one.
type VolumeSnapshotClass struct {
	Metadata       metav1.ObjectMeta `json:"metadata"`
	Driver         string            `json:"driver"`
	DeletionPolicy string            `json:"deletionPolicy"`
	Parameters     map[string]string `json:"parameters"`
}

// Place is where the API server has an object, or without a name all of a kind.
type Place struct{ Resource, Namespace, Name string }

// Snapshots are the objects of the snapshot group.
type Snapshots interface {
	Get(ctx context.Context, at Place, into any) error
	// Check asks for one object of a kind, whether or not there is any.
	Check(ctx context.Context, resource string) error
	// Change sends one with an HTTP method: POST creates it, PATCH is a JSON merge
	// patch, DELETE has options.
	Change(ctx context.Context, method string, at Place, content any, subresource ...string) error
}

// snapshots are those of the API server.
type snapshots struct{ client rest.Interface }

// request to a place. Its names were written by somebody who may have few rights:
// Name and Namespace refuse one that would lead elsewhere.
func (s snapshots) request(method string, at Place) *rest.Request {
	request := s.client.Verb(method).NamespaceIfScoped(at.Namespace, at.Namespace != "").Resource(at.Resource)
	if at.Name != "" {
		request = request.Name(at.Name)
	}

	return request.SetHeader("Accept", "application/json")
}

// Get implements Snapshots.
func (s snapshots) Get(ctx context.Context, at Place, into any) error {
	content, err := s.request(http.MethodGet, at).DoRaw(ctx)
	if err != nil {
		return err
	}

	return json.Unmarshal(content, into)
}

// Check implements Snapshots.
func (s snapshots) Check(ctx context.Context, resource string) error {
	_, err := s.request(http.MethodGet, Place{Resource: resource}).Param("limit", "1").DoRaw(ctx)

	return err
}

// Change implements Snapshots.
func (s snapshots) Change(ctx context.Context, method string, at Place, content any, subresource ...string) error {
	body, err := json.Marshal(content)
	if err != nil {
		return err
	}

	kind := "application/json"
	if method == http.MethodPatch {
		kind = string(types.MergePatchType)
	}

	_, err = s.request(method, at).SubResource(subresource...).SetHeader("Content-Type", kind).Body(body).DoRaw(ctx)

	return err
}

// snapshotsServed reports whether the cluster has the kinds, and lets us see all of
// them: without that, claims go on and snapshots don't. An error says why that is not known.
func (c Clients) snapshotsServed(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()

	for _, resource := range []string{resourceSnapshots, resourceContents, resourceClasses} {
		err := c.Snapshots.Check(ctx, resource)
		if apierrors.IsNotFound(err) {
			return false, nil
		}

		if err != nil {
			return false, fmt.Errorf("look for %s: %w", resource, err)
		}
	}

	return true, nil
}

// getSnapshot returns nil if it isn't there.
func (p *Provisioner) getSnapshot(ctx context.Context, namespace, name string) (*VolumeSnapshot, error) {
	var out VolumeSnapshot

	err := p.Snapshots.Get(ctx, Place{resourceSnapshots, namespace, name}, &out)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}

	return &out, described(err, "get VolumeSnapshot", namespace+"/"+name)
}

// getContent returns nil if it isn't there.
func (p *Provisioner) getContent(ctx context.Context, name string) (*VolumeSnapshotContent, error) {
	var out VolumeSnapshotContent

	err := p.Snapshots.Get(ctx, Place{Resource: resourceContents, Name: name}, &out)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}

	return &out, described(err, "get VolumeSnapshotContent", name)
}

// snapshotOf is the handle of the snapshot that a VolumeSnapshot is bound to.
func (p *Provisioner) snapshotOf(ctx context.Context, namespace, name string) (string, error) {
	snapshot, err := p.getSnapshot(ctx, namespace, name)
	if err != nil {
		return "", err
	}

	if snapshot == nil || !snapshot.Status.Ready || snapshot.Status.Content == "" || snapshot.Metadata.DeletionTimestamp != nil {
		return "", fmt.Errorf("VolumeSnapshot %s/%s is not ready (yet), or is being deleted", namespace, name)
	}

	content, err := p.getContent(ctx, snapshot.Status.Content)
	if err != nil {
		return "", err
	}

	// Whoever may write a VolumeSnapshot must not get at somebody else's by it.
	if content == nil || content.Spec.Ref.UID != snapshot.Metadata.UID {
		return "", fmt.Errorf("VolumeSnapshotContent %s is not bound to VolumeSnapshot %s/%s", snapshot.Status.Content, namespace, name)
	}

	if content.Spec.Driver != kubernetes.DriverName || content.Status.Handle == "" {
		return "", fmt.Errorf("VolumeSnapshot %s/%s is of driver %s, or has no handle: restore it there", namespace, name, content.Spec.Driver)
	}

	return content.Status.Handle, nil
}
