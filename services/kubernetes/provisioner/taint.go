package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"antler/services/kubernetes"
)

// Kubernetes leaves the pods of a node that it doesn't hear of where they are: they
// may run. The out-of-service taint is somebody's word that they don't. Then it
// deletes them, and who made them makes them elsewhere
// (https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/).

// annotationTaint says that a node's taint is antlerd's, to be taken off again.
const annotationTaint = kubernetes.DriverName + "/out-of-service"

// outOfService is the taint, as Kubernetes's documentation has it.
func outOfService() corev1.Taint {
	return corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "nodeshutdown", Effect: corev1.TaintEffectNoExecute}
}

// verdict is what becomes of a node's taint.
type verdict string

const (
	taintStays verdict = "stays"
	// taintWaits: Kubernetes still takes the node for ready. Its pods may be those
	// of a kubelet that is alive.
	taintWaits verdict = "waits"
	taintPut   verdict = "put"
	taintTaken verdict = "taken"
)

// judge a node. Somebody else's taint is left alone, and one that somebody took off
// is not put on again before the node was back.
func judge(node *corev1.Node, dead bool) verdict {
	_, ours := node.Annotations[annotationTaint]
	tainted := slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })

	switch {
	case dead == ours, dead && tainted:
		return taintStays
	case !dead:
		return taintTaken
	case slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}):
		return taintWaits
	default:
		return taintPut
	}
}

// taintInterval is how old what the quorum says of dead nodes may be, and between
// two looks at a node that Kubernetes still takes for ready.
const taintInterval = 2 * time.Second

// checkRights is what to do where the API server refuses a taint.
const checkRights = "check that the credentials have the rights in deploy/kubernetes"

// taints keeps the nodes' taints until ctx ends. The API server is asked only when
// another node is dead or back, and while something is left to do.
func (w *Work) taints(ctx context.Context, p *Provisioner) {
	if w.Dead == nil {
		w.untaintAll(ctx, p)

		return
	}

	ticker := time.NewTicker(taintInterval)
	defer ticker.Stop()

	var done []string

	for settled := false; ; {
		if dead := w.Dead(); !settled || !slices.Equal(dead, done) {
			waits, err := p.taint(ctx, dead, w.Tell)
			settled, done = err == nil && !waits, dead

			if ctx.Err() != nil {
				return
			}

			if err != nil {
				err = fmt.Errorf("taint the nodes that are dead: %w: %s", err, checkRights)
			}

			w.change(func(c *Connection) { c.TaintsErr = err })
		}

		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// taint the dead nodes and no others, each under the name that it has in Kubernetes.
// It reports whether one is to be looked at again.
func (p *Provisioner) taint(ctx context.Context, dead []string, tell func(kind, message string)) (waits bool, err error) {
	nodes, err := p.CSINodes.List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}

	var errs []error

	for _, listed := range nodes.Items {
		i := slices.IndexFunc(listed.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == kubernetes.DriverName })
		if i < 0 {
			continue
		}

		id := listed.Spec.Drivers[i].NodeID

		said, err := p.taintOne(ctx, listed.Name, id, slices.Contains(dead, id))
		waits = waits || said == taintWaits

		switch {
		case err != nil:
			errs = append(errs, err)
		case said == taintPut:
			tell("kubernetes.tainted", fmt.Sprintf("%s is dead: Kubernetes ends the pods of its node %s", id, listed.Name))
		case said == taintTaken:
			tell("kubernetes.untainted", fmt.Sprintf("%s is heard of again: Kubernetes may use its node %s", id, listed.Name))
		}
	}

	return waits, errors.Join(errs...)
}

func (p *Provisioner) taintOne(ctx context.Context, name, id string, dead bool) (verdict, error) {
	node, err := p.Nodes.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}

	// A node of another cluster may have the same name.
	if node.Labels[kubernetes.TopologyKey] != p.Cluster {
		return taintStays, nil
	}

	said := judge(node, dead)

	switch said {
	case taintPut:
		err = p.patchTaints(ctx, node, p.Now().UTC().Format(time.RFC3339), append(node.Spec.Taints, outOfService()))
	case taintTaken:
		err = p.takeTaint(ctx, node)
	case taintStays, taintWaits:
		return said, nil
	}

	if err != nil {
		return said, err
	}

	if said == taintPut {
		p.Recorder.Eventf(node, corev1.EventTypeWarning, "OutOfService", "%s was not heard of for so long that it is without power, or has reset itself: its pods are ended", id)
	} else {
		p.Recorder.Eventf(node, corev1.EventTypeNormal, "InService", "%s is heard of again", id)
	}

	return said, nil
}

// patchTaints replaces the list, which the API server can't merge: so it is refused
// if anybody has changed the node since.
func (p *Provisioner) patchTaints(ctx context.Context, node *corev1.Node, annotation any, taints []corev1.Taint) error {
	if taints == nil {
		taints = []corev1.Taint{}
	}

	content, err := json.Marshal(of(node.UID, map[string]any{
		"resourceVersion": node.ResourceVersion, "annotations": map[string]any{annotationTaint: annotation},
	}, patch{"spec": map[string]any{"taints": taints}}))
	if err != nil {
		return err
	}

	_, err = p.Nodes.Patch(ctx, node.Name, types.MergePatchType, content, metav1.PatchOptions{})

	return err
}
