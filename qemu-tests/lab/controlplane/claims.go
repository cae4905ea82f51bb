package controlplane

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Claim is one that a test may make, of a class.
func Claim(name, class, size string, mode corev1.PersistentVolumeAccessMode) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: Namespace},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{mode},
			Resources: corev1.VolumeResourceRequirements{Requests: Sized(size)},
		},
	}
}

// Sized is what a claim asks for.
func Sized(size string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
}

// EventsOf returns what Kubernetes and the driver have said about an object.
func (c *ControlPlane) EventsOf(ctx context.Context, name string) ([]corev1.Event, error) {
	list, err := c.Admin.CoreV1().Events(Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		return nil, err
	}

	return list.Items, nil
}

// VolumeGone is an error as long as there is a persistent volume of the name.
func (c *ControlPlane) VolumeGone(ctx context.Context, name string) error {
	now, err := c.Admin.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})

	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	}

	return fmt.Errorf("it is %s", now.Status.Phase)
}

// VolumeReleased is an error as long as a persistent volume is not released.
func (c *ControlPlane) VolumeReleased(ctx context.Context, name string) error {
	now, err := c.Admin.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
	if err == nil && now.Status.Phase != corev1.VolumeReleased {
		err = fmt.Errorf("it is %s", now.Status.Phase)
	}

	return err
}

// LetGo has a persistent volume that was to stay be deleted.
func (c *ControlPlane) LetGo(ctx context.Context, name string) error {
	_, err := c.Admin.CoreV1().PersistentVolumes().Patch(ctx, name, types.MergePatchType,
		[]byte(`{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`), metav1.PatchOptions{})

	return err
}
