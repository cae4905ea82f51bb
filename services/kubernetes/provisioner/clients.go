package provisioner

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
)

// Clients are what the provisioner needs of the API server, each as client-go
// has it. client-go's own set of all clients knows every kind that there is, and
// doubles antlerd.
type Clients struct {
	Claims            func(namespace string) Claims
	Volumes           Volumes
	Classes           Classes
	AttributesClasses AttributesClasses
	Nodes             Nodes
	CSINodes          CSINodes
	Snapshots         Snapshots
	SnapshotList      SnapshotList
	Events            record.EventSink
}

// Claims of a namespace, or of all of them.
type Claims interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*corev1.PersistentVolumeClaim, error)
	List(ctx context.Context, o metav1.ListOptions) (*corev1.PersistentVolumeClaimList, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
	Patch(ctx context.Context, name string, kind types.PatchType, data []byte, o metav1.PatchOptions, subresources ...string) (*corev1.PersistentVolumeClaim, error)
}

// Volumes are persistent volumes.
type Volumes interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*corev1.PersistentVolume, error)
	List(ctx context.Context, o metav1.ListOptions) (*corev1.PersistentVolumeList, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
	Create(ctx context.Context, pv *corev1.PersistentVolume, o metav1.CreateOptions) (*corev1.PersistentVolume, error)
	Patch(ctx context.Context, name string, kind types.PatchType, data []byte, o metav1.PatchOptions, subresources ...string) (*corev1.PersistentVolume, error)
	Delete(ctx context.Context, name string, o metav1.DeleteOptions) error
}

// Classes are StorageClasses.
type Classes interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*storagev1.StorageClass, error)
	List(ctx context.Context, o metav1.ListOptions) (*storagev1.StorageClassList, error)
}

// AttributesClasses are VolumeAttributesClasses.
type AttributesClasses interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*storagev1.VolumeAttributesClass, error)
}

// Nodes of Kubernetes.
type Nodes interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (*corev1.Node, error)
	List(ctx context.Context, o metav1.ListOptions) (*corev1.NodeList, error)
	Patch(ctx context.Context, name string, kind types.PatchType, data []byte, o metav1.PatchOptions, subresources ...string) (*corev1.Node, error)
}

// CSINodes say by which name a driver knows a node of Kubernetes.
type CSINodes interface {
	List(ctx context.Context, o metav1.ListOptions) (*storagev1.CSINodeList, error)
}

// SnapshotList has what all objects have of the VolumeSnapshots.
type SnapshotList interface {
	List(ctx context.Context, o metav1.ListOptions) (*metav1.PartialObjectMetadataList, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// knownTypes are the kinds that are read or written, and no others.
func knownTypes() *runtime.Scheme {
	scheme := runtime.NewScheme()

	scheme.AddKnownTypes(corev1.SchemeGroupVersion,
		&corev1.PersistentVolumeClaim{}, &corev1.PersistentVolumeClaimList{},
		&corev1.PersistentVolume{}, &corev1.PersistentVolumeList{}, &corev1.Node{}, &corev1.NodeList{}, &corev1.Event{})
	scheme.AddKnownTypes(storagev1.SchemeGroupVersion,
		&storagev1.StorageClass{}, &storagev1.StorageClassList{}, &storagev1.VolumeAttributesClass{},
		&storagev1.CSINode{}, &storagev1.CSINodeList{})

	for _, version := range []schema.GroupVersion{corev1.SchemeGroupVersion, storagev1.SchemeGroupVersion} {
		metav1.AddToGroupVersion(scheme, version)
	}

	return scheme
}

// newClients returns the clients that speak to the API server by config.
func newClients(config *rest.Config) (Clients, error) {
	scheme := knownTypes()
	parameters := runtime.NewParameterCodec(scheme)

	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return Clients{}, err
	}

	group := func(version schema.GroupVersion, path string) (rest.Interface, error) {
		c := rest.CopyConfig(config)
		c.GroupVersion, c.APIPath = &version, path
		c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()

		return rest.RESTClientForConfigAndClient(c, client)
	}

	core, err := group(corev1.SchemeGroupVersion, "/api")
	if err != nil {
		return Clients{}, err
	}

	storage, err := group(storagev1.SchemeGroupVersion, "/apis")
	if err != nil {
		return Clients{}, err
	}

	snapshot, err := group(snapshotVersion(), "/apis")
	if err != nil {
		return Clients{}, err
	}

	list, err := metadata.NewForConfigAndClient(config, client)
	if err != nil {
		return Clients{}, err
	}

	return Clients{
		Claims: func(namespace string) Claims {
			return gentype.NewClientWithList("persistentvolumeclaims", core, parameters, namespace,
				empty[corev1.PersistentVolumeClaim], empty[corev1.PersistentVolumeClaimList])
		},
		Volumes: gentype.NewClientWithList("persistentvolumes", core, parameters, "",
			empty[corev1.PersistentVolume], empty[corev1.PersistentVolumeList]),
		Classes: gentype.NewClientWithList("storageclasses", storage, parameters, "",
			empty[storagev1.StorageClass], empty[storagev1.StorageClassList]),
		AttributesClasses: gentype.NewClient("volumeattributesclasses", storage, parameters, "", empty[storagev1.VolumeAttributesClass]),
		Nodes: gentype.NewClientWithList("nodes", core, parameters, "",
			empty[corev1.Node], empty[corev1.NodeList]),
		CSINodes: gentype.NewClientWithList("csinodes", storage, parameters, "",
			empty[storagev1.CSINode], empty[storagev1.CSINodeList]),
		Snapshots:    snapshots{snapshot},
		SnapshotList: list.Resource(snapshotVersion().WithResource(resourceSnapshots)),
		Events:       events{core, parameters},
	}, nil
}

func empty[T any]() *T { return new(T) }

// events writes events where their objects are.
type events struct {
	core       rest.Interface
	parameters runtime.ParameterCodec
}

func (e events) of(event *corev1.Event) *gentype.Client[*corev1.Event] {
	return gentype.NewClient("events", e.core, e.parameters, event.Namespace, empty[corev1.Event])
}

// Create implements record.EventSink, whose methods have no context.
func (e events) Create(event *corev1.Event) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()

	return e.of(event).Create(ctx, event, metav1.CreateOptions{})
}

// Update implements record.EventSink.
func (e events) Update(event *corev1.Event) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()

	return e.of(event).Update(ctx, event, metav1.UpdateOptions{})
}

// Patch implements record.EventSink.
func (e events) Patch(event *corev1.Event, data []byte) (*corev1.Event, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()

	return e.of(event).Patch(ctx, event.Name, types.StrategicMergePatchType, data, metav1.PatchOptions{})
}
