package controlplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Storm is claims that are made at once.
type Storm struct {
	created sync.WaitGroup

	mu    sync.Mutex
	begun map[string]time.Time
	took  map[string]time.Duration
	errs  []error
}

// stormClients make the claims.
const stormClients = 10

// Storm begins to make claims, all as claim returns them, which is given their
// names.
func (c *ControlPlane) Storm(ctx context.Context, claims int, claim func(name string) *corev1.PersistentVolumeClaim) (*Storm, error) {
	s := &Storm{begun: map[string]time.Time{}, took: map[string]time.Duration{}}
	informer := informers.NewSharedInformerFactory(c.Admin, 0).Core().V1().PersistentVolumeClaims().Informer()

	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(_, now any) {
		if claim, is := now.(*corev1.PersistentVolumeClaim); is && claim.Status.Phase == corev1.ClaimBound {
			s.bound(claim.Name)
		}
	}})
	if err != nil {
		return nil, err
	}

	go informer.RunWithContext(ctx)

	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, fmt.Errorf("list the claims: %w", ctx.Err())
	}

	names := make(chan string, claims)
	for i := range claims {
		names <- fmt.Sprintf("storm-%d", i)
	}

	close(names)

	for range stormClients {
		s.created.Go(func() {
			for name := range names {
				s.begin(name)

				_, err := c.Admin.CoreV1().PersistentVolumeClaims(Namespace).Create(ctx, claim(name), metav1.CreateOptions{})
				s.failed(err)
			}
		})
	}

	return s, nil
}

func (s *Storm) begin(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.begun[name] = time.Now()
}

func (s *Storm) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.errs = append(s.errs, err)
}

func (s *Storm) bound(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if begin, known := s.begun[name]; known && s.took[name] == 0 {
		s.took[name] = time.Since(begin)
	}
}

// Created waits until all claims were made.
func (s *Storm) Created() error {
	s.created.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()

	return errors.Join(s.errs...)
}

// Bound is how many claims are, as far as the API server has said.
func (s *Storm) Bound() int {
	s.mu.Lock()
	defer s.mu.Unlock()

	return len(s.took)
}

// AwaitBound waits until so many claims are bound, and returns how long each took.
func (s *Storm) AwaitBound(ctx context.Context, claims int) (took []time.Duration, err error) {
	err = Await(ctx, fmt.Sprintf("%d claims are bound", claims), func() error {
		s.mu.Lock()
		defer s.mu.Unlock()

		if len(s.took) < claims {
			return fmt.Errorf("%d are", len(s.took))
		}

		took = slices.Collect(maps.Values(s.took))

		return nil
	})

	return took, err
}

// OneVolumeEach checks that there are so many persistent volumes, each for a claim
// that is bound to it and to no other, and returns the handles of their volumes,
// of which no two are the same.
func (c *ControlPlane) OneVolumeEach(ctx context.Context, claims int) (map[string]bool, error) {
	pvs, err := c.Admin.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}

	if len(pvs.Items) != claims {
		return nil, fmt.Errorf("%d claims have %d persistent volumes", claims, len(pvs.Items))
	}

	owners, handles := map[string]bool{}, map[string]bool{}

	for _, pv := range pvs.Items {
		claim, err := c.Admin.CoreV1().PersistentVolumeClaims(Namespace).Get(ctx, pv.Spec.ClaimRef.Name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("persistent volume %s: get its claim: %w", pv.Name, err)
		}

		if claim.UID != pv.Spec.ClaimRef.UID || claim.Spec.VolumeName != pv.Name {
			return nil, fmt.Errorf("persistent volume %s is for claim %s, which is bound to %q", pv.Name, claim.Name, claim.Spec.VolumeName)
		}

		owners[string(claim.UID)], handles[pv.Spec.CSI.VolumeHandle] = true, true
	}

	if len(owners) != claims || len(handles) != claims {
		return nil, fmt.Errorf("%d claims: persistent volumes are for %d of them, of %d volumes", claims, len(owners), len(handles))
	}

	return handles, nil
}

// NoneLeft waits until there is no persistent volume.
func (c *ControlPlane) NoneLeft(ctx context.Context) error {
	return Await(ctx, "no persistent volume is left", func() error {
		pvs, err := c.Admin.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		if err == nil && len(pvs.Items) > 0 {
			err = fmt.Errorf("%d are, one is %s", len(pvs.Items), pvs.Items[0].Name)
		}

		return err
	})
}
