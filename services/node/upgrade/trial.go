package upgrade

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	antlerv1 "antler/api/antler/v1"
	"antler/image/slots"
	"antler/services/node/config"
	"antler/services/replication"
)

// Times of a trial.
const (
	// TrialTime is how long a system on trial gets to be healthy: a replica has to
	// catch up with what it missed meanwhile. image/init's guard waits longer.
	TrialTime = 15 * time.Minute
	// steady is how long it must be healthy without a break.
	steady = 10 * time.Second
	// trialPoll is between two looks.
	trialPoll = 2 * time.Second
)

// Trial decides whether the system that runs is to stay.
type Trial struct {
	// Node is this one.
	Node string
	// Status is what this node knows of the whole cluster.
	Status func(context.Context) (*antlerv1.ClusterStatus, error)
	// Tell is told what is still missing, whenever that changes.
	Tell func(missing string)
	// Now and Sleep are the clock.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// Run returns nil when the system is to stay, and what was missing when it is not.
func (t Trial) Run(ctx context.Context) error {
	var since time.Time

	told, end := "", t.Now().Add(TrialTime)

	for {
		missing := t.missing(ctx)
		if missing != told {
			t.Tell(missing)
			told = missing
		}

		now := t.Now()

		switch {
		case missing != "":
			since = time.Time{}
		case since.IsZero():
			since = now
		case now.Sub(since) >= steady:
			return nil
		}

		if now.After(end) {
			return fmt.Errorf("the node was not healthy within %s: %s", TrialTime, orUnsteady(missing))
		}

		err := t.Sleep(ctx, trialPoll)
		if err != nil {
			return err
		}
	}
}

func orUnsteady(missing string) string {
	if missing == "" {
		return fmt.Sprintf("it was, but not for %s", steady)
	}

	return missing
}

func (t Trial) missing(ctx context.Context) string {
	status, err := t.Status(ctx)
	if err != nil {
		return fmt.Sprintf("antlerd does not answer: %v", err)
	}

	return Missing(status, t.Node)
}

// Missing says what keeps a node from being healthy in the cluster's eyes; "" if
// nothing does: there is a quorum, a master serves, the node is heard of, all its
// services run, its replica holds every acknowledged write, and every chunkserver
// is connected.
func Missing(status *antlerv1.ClusterStatus, name string) string {
	if !status.GetAuthority().GetQuorum() {
		return "there is no quorum"
	}

	if status.GetServing().GetNode() == "" {
		return "no master serves"
	}

	i := slices.IndexFunc(status.GetNodes(), func(n *antlerv1.NodeStatus) bool { return n.GetName() == name })
	if i < 0 {
		return name + " is not in the cluster"
	}

	node := status.GetNodes()[i]

	switch {
	case !node.GetAlive():
		return name + " is not heard of"
	case node.GetError() != "":
		return name + ": " + node.GetError()
	case len(node.GetServicesDown()) > 0:
		return "services of " + name + " are down: " + strings.Join(node.GetServicesDown(), ", ")
	}

	if missing := replicaMissing(node); missing != "" {
		return missing
	}

	space := status.GetSpace()
	if space.GetChunkservers() < space.GetChunkserversExpected() {
		return fmt.Sprintf("%d of %d chunkservers are connected", space.GetChunkservers(), space.GetChunkserversExpected())
	}

	return ""
}

// MayRestart says what keeps the cluster from going on while the node restarts, ""
// if nothing does: it has to be healthy, and so have all others. A trial could not
// end well otherwise, and of two replicas one has to stay.
func MayRestart(status *antlerv1.ClusterStatus, name string) string {
	if missing := Missing(status, name); missing != "" {
		return missing
	}

	for _, node := range status.GetNodes() {
		if !node.GetAlive() {
			return node.GetName() + " is not heard of"
		}

		if missing := replicaMissing(node); missing != "" {
			return missing
		}

		if missing := comparisonMissing(node, name); missing != "" {
			return missing
		}
	}

	return ""
}

// Different is what MayRestart says where waiting doesn't help.
const Different = "the replicas are not the same, and nobody knows which is right"

// comparisonMissing: a disk may have forgotten what it said it had written. The other node
// would serve from it if this one restarts, and if they differ any restart decides for one.
func comparisonMissing(node *antlerv1.NodeStatus, restarting string) string {
	switch comparison := replication.Comparison(node.GetReplica().GetComparison()); {
	case comparison == replication.ComparisonDifferent:
		return Different
	case comparison == replication.ComparisonOutstanding && node.GetName() == restarting:
		return "it serves, and the replicas have not been compared yet since they were connected"
	default:
		return ""
	}
}

func replicaMissing(node *antlerv1.NodeStatus) string {
	if !slices.Contains(node.GetRoles(), string(config.RoleMetadata)) || node.GetReplica() == nil {
		return ""
	}

	replica := node.GetReplica()
	if replica.GetUpToDate() && replica.GetDisk() == "UpToDate" && replica.GetSuspended() == "" {
		return ""
	}

	return fmt.Sprintf("the replica of %s is %q, and does not hold every acknowledged write yet", node.GetName(), replica.GetDisk())
}

// Commit makes the running slot the one to start.
func Commit(card Card, running string) error {
	err := card.Overwrite(slots.StateFile, slots.State{Slot: running}.Bytes())
	if err != nil {
		return fmt.Errorf("make slot %s the one to start: %w", running, err)
	}

	return nil
}
