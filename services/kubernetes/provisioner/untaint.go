package provisioner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/services/kubernetes"
)

// untaintAll takes antlerd's own taints off, where the policy doesn't ask for any: it
// may have been turned off while a node was dead. The API server is asked once, and
// again only after an error.
func (w *Work) untaintAll(ctx context.Context, p *Provisioner) {
	for {
		err := p.untaint(ctx, w.Tell)
		if ctx.Err() != nil {
			return
		}

		if err != nil {
			err = fmt.Errorf("take the taints off that nobody asks for any more: %w: %s", err, checkRights)
		}

		w.change(func(c *Connection) { c.TaintsErr = err })

		if err == nil {
			return
		}

		select {
		case <-ctx.Done():
			return
		case <-time.After(w.Interval):
		}
	}
}

// untaint this cluster's nodes, whether they are dead or not. Somebody else's taints
// stay.
func (p *Provisioner) untaint(ctx context.Context, tell func(kind, message string)) error {
	nodes, err := p.Nodes.List(ctx, metav1.ListOptions{LabelSelector: kubernetes.TopologyKey + "=" + p.Cluster})
	if err != nil {
		return err
	}

	var errs []error

	for i := range nodes.Items {
		node := &nodes.Items[i]
		if _, ours := node.Annotations[annotationTaint]; !ours {
			continue
		}

		if err := p.takeTaint(ctx, node); err != nil {
			errs = append(errs, err)

			continue
		}

		p.Recorder.Event(node, corev1.EventTypeNormal, "InService", "dead nodes are not to be tainted any more")
		tell("kubernetes.untainted", fmt.Sprintf("dead nodes are not to be tainted any more: Kubernetes may use its node %s as soon as it is ready", node.Name))
	}

	return errors.Join(errs...)
}

// takeTaint takes antlerd's taint off a node.
func (p *Provisioner) takeTaint(ctx context.Context, node *corev1.Node) error {
	ours := outOfService()
	left := slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(t corev1.Taint) bool { return t.MatchTaint(&ours) && t.Value == ours.Value })

	return p.patchTaints(ctx, node, nil, left)
}
