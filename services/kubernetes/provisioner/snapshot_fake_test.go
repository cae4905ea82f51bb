package provisioner

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"antler/services/kubernetes"
)

type tree = map[string]any

// fakeSnapshots keeps objects as an API server does: what is deleted and has a
// finalizer stays until it has none, a status is written by its subresource alone, and
// who means another object, or an older state of it, meets a conflict.
type fakeSnapshots map[Place]tree

func (f fakeSnapshots) Get(_ context.Context, at Place, into any) error {
	var found any = f[at]

	if at.Name == "" {
		items := []tree{}

		for place, o := range f {
			if place.Resource == at.Resource {
				items = append(items, o)
			}
		}

		found = tree{"items": items}
	} else if f[at] == nil {
		return apierrors.NewNotFound(schema.GroupResource{Resource: at.Resource}, at.Name)
	}

	content, err := json.Marshal(found)
	if err != nil {
		return err
	}

	return json.Unmarshal(content, into)
}

func (f fakeSnapshots) Check(context.Context, string) error { return nil }

func (f fakeSnapshots) Change(_ context.Context, method string, at Place, content any, subresource ...string) error {
	var change tree

	encoded, err := json.Marshal(content)
	if err == nil {
		err = json.Unmarshal(encoded, &change)
	}

	if err != nil {
		return err
	}

	if method == http.MethodPost {
		return f.create(at, change)
	}

	if err := f.conflict(at, change); err != nil {
		return err
	}

	version, _ := metadataOf(f[at])["resourceVersion"].(string)

	switch {
	case method == http.MethodDelete:
		merge(f[at], tree{"metadata": tree{"deletionTimestamp": "2026-01-01T00:00:00Z"}})
	case slices.Equal(subresource, []string{"status"}):
		merge(f[at], tree{"status": change["status"]})
	default:
		delete(change, "status")

		merge(f[at], change)
	}

	metadataOf(f[at])["resourceVersion"] = version + "+"

	if finalizers, _ := metadataOf(f[at])["finalizers"].([]any); metadataOf(f[at])["deletionTimestamp"] != nil && len(finalizers) == 0 {
		delete(f, at)
	}

	return nil
}

func (f fakeSnapshots) create(at Place, o tree) error {
	at.Name = metadataOf(o)["name"].(string)
	if f[at] != nil {
		return apierrors.NewAlreadyExists(schema.GroupResource{Resource: at.Resource}, at.Name)
	}

	delete(o, "status")

	metadataOf(o)["uid"], metadataOf(o)["resourceVersion"] = "of-"+at.Name, "1"
	f[at] = o

	return nil
}

// conflict is the answer to who doesn't mean the object as it is.
func (f fakeSnapshots) conflict(at Place, change tree) error {
	kind := schema.GroupResource{Resource: at.Resource}
	if f[at] == nil {
		return apierrors.NewNotFound(kind, at.Name)
	}

	for _, conditions := range []string{"metadata", "preconditions"} {
		for _, key := range []string{"uid", "resourceVersion"} {
			part, _ := change[conditions].(map[string]any)
			if want, _ := part[key].(string); want != "" && want != metadataOf(f[at])[key] {
				return apierrors.NewConflict(kind, at.Name, fmt.Errorf("%s is %v, not %s", key, metadataOf(f[at])[key], want))
			}
		}
	}

	return nil
}

func metadataOf(o tree) tree { return o["metadata"].(tree) }

func merge(into, change tree) {
	for key, value := range change {
		inner, is := value.(tree)
		if have, was := into[key].(tree); is && was {
			merge(have, inner)

			continue
		}

		into[key] = value
	}
}

// snapshotBench has a bound claim and a VolumeSnapshot of it.
func snapshotBench(class string) (*bench, fakeSnapshots, *metav1.PartialObjectMetadata) {
	claim := claimed(bound)
	b := newBench(claim, storageClass(nil), volumeOf(claim, storageClass(nil), corev1.VolumeBound))
	objects := fakeSnapshots{
		{Resource: resourceClasses, Name: "moosefs"}: {
			"metadata": tree{"name": "moosefs", "annotations": tree{annotationDefaultSnapshotClass: "true"}},
			"driver":   kubernetes.DriverName, "deletionPolicy": "Delete",
		},
		{Resource: resourceClasses, Name: "keep"}:  {"metadata": tree{"name": "keep"}, "driver": kubernetes.DriverName, "deletionPolicy": "Retain"},
		{Resource: resourceClasses, Name: "other"}: {"metadata": tree{"name": "other"}, "driver": "else", "deletionPolicy": "Delete"},
		{resourceSnapshots, "shop", "monday"}: {
			"metadata": tree{"name": "monday", "namespace": "shop", "uid": "s1", "resourceVersion": "1", "finalizers": []any{"somebody/else"}},
			"spec":     tree{"volumeSnapshotClassName": class, "source": tree{"persistentVolumeClaimName": "db"}},
		},
	}
	b.Snapshots = objects

	return b, objects, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "monday", Namespace: "shop", UID: "s1"}}
}

func (f fakeSnapshots) snapshot() tree { return f[Place{resourceSnapshots, "shop", "monday"}] }

func (f fakeSnapshots) content() tree {
	return f[Place{Resource: resourceContents, Name: "snapcontent-s1"}]
}

func (f fakeSnapshots) delete() {
	merge(f.snapshot(), tree{"metadata": tree{"deletionTimestamp": "2026-01-01T00:00:00Z"}})
}
