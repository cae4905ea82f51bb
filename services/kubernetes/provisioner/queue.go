package provisioner

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// Backoff is the time until a failed attempt is made again: at first, and at
// most after it has doubled a few times.
type Backoff struct{ First, Most time.Duration }

// DefaultBackoff is long enough for a StorageClass that is wrong, and short
// enough for a master that is moving.
func DefaultBackoff() Backoff { return Backoff{First: time.Second, Most: 2 * time.Minute} }

// queue has the objects of a kind looked at by workers, each by one at a time.
type queue[T runtime.Object] struct {
	p        *Provisioner
	informer cache.SharedIndexInformer
	work     workqueue.TypedRateLimitingInterface[string]
	// matters reports whether there may be something to do about an object.
	matters func(T) bool
	sync    func(context.Context, T) error
	// reason of the event about a failure.
	reason string
}

func newQueue[T runtime.Object](p *Provisioner, lw *cache.ListWatch, of T, reason string, matters func(T) bool, sync func(context.Context, T) error) (*queue[T], error) {
	q := &queue[T]{
		p: p, reason: reason, matters: matters, sync: sync,
		informer: cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, p.Claims(metav1.NamespaceAll)), of, 0, cache.Indexers{}),
		work: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](p.Backoff.First, p.Backoff.Most)),
	}

	// Who manages which field is most of an object, and nothing to us.
	err := q.informer.SetTransform(func(o any) (any, error) {
		if accessor, err := meta.Accessor(o); err == nil {
			accessor.SetManagedFields(nil)
		}

		// Events say what an object is by this.
		if partial, is := o.(*metav1.PartialObjectMetadata); is {
			partial.SetGroupVersionKind(snapshotVersion().WithKind("VolumeSnapshot"))
		}

		return o, nil
	})
	if err != nil {
		return nil, err
	}

	err = q.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) { p.Watching(err) })
	if err != nil {
		return nil, err
	}

	_, err = q.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: q.add,
		UpdateFunc: func(before, now any) {
			// An attempt that fails writes to the object as well. That must not be
			// a reason to make the next one at once.
			old, is := before.(T)
			if is && !asksForMore(old, now.(T)) {
				return
			}

			q.add(now)
		},
	})

	return q, err
}

// run has the objects looked at until ctx ends.
func (q *queue[T]) run(ctx context.Context, group *errgroup.Group, workers int) {
	group.Go(func() error { q.informer.RunWithContext(ctx); return nil })
	group.Go(func() error {
		<-ctx.Done()
		q.work.ShutDown()

		return nil
	})
	group.Go(func() error {
		limited, cancel := context.WithTimeout(ctx, syncTime)
		defer cancel()

		if !cache.WaitForCacheSync(limited.Done(), q.informer.HasSynced) && ctx.Err() == nil {
			return errNotSynced
		}

		for range workers {
			group.Go(func() error {
				for q.next(ctx) {
				}

				return nil
			})
		}

		return nil
	})
}

// asksForMore reports whether somebody else than the provisioner has changed what
// it looks at. A new object of an old name is another one.
func asksForMore(before, now runtime.Object) bool {
	return !equality.Semantic.DeepEqual(asked(before), asked(now))
}

// asked is what of an object others write.
func asked(o runtime.Object) any {
	type common struct {
		UID         types.UID
		Deleted     bool
		Generation  int64
		Annotations map[string]string
		Phase       string
		Spec        any
	}

	switch o := o.(type) {
	case *corev1.PersistentVolumeClaim:
		return common{o.UID, o.DeletionTimestamp != nil, o.Generation, o.Annotations, string(o.Status.Phase), o.Spec}
	case *corev1.PersistentVolume:
		return common{o.UID, o.DeletionTimestamp != nil, o.Generation, o.Annotations, string(o.Status.Phase), o.Spec}
	case *metav1.PartialObjectMetadata:
		// What else it asks for is not to be seen here; each change of it counts up.
		return common{UID: o.UID, Deleted: o.DeletionTimestamp != nil, Generation: o.Generation}
	default:
		return o
	}
}

func (q *queue[T]) add(o any) {
	object, is := o.(T)
	if !is || !q.matters(object) {
		return
	}

	if key, err := cache.MetaNamespaceKeyFunc(o); err == nil {
		q.work.Add(key)
	}
}

// next works on one object; false once the queue is shut down.
func (q *queue[T]) next(ctx context.Context) bool {
	key, over := q.work.Get()
	if over {
		return false
	}
	defer q.work.Done(key)

	found, exists, err := q.informer.GetStore().GetByKey(key)
	if err != nil || !exists {
		q.work.Forget(key)

		return true
	}

	// What is in the store is everybody's.
	object, _ := found.(runtime.Object).DeepCopyObject().(T)

	err = q.sync(ctx, object)
	if err == nil {
		q.work.Forget(key)

		return true
	}

	if ctx.Err() != nil {
		return true
	}

	q.work.AddRateLimited(key)
	q.tell(object, err)

	return true
}

// tell whoever looks at the object why there is no progress.
func (q *queue[T]) tell(object T, err error) {
	for _, f := range failuresOf(err, q.reason) {
		if passing(f.err) {
			continue
		}

		q.p.Counts.Failed.Add(1)
		q.p.Recorder.Event(object, corev1.EventTypeWarning, f.reason, text(f.err))
	}
}
