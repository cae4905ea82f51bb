package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	antlerv1 "antler/api/antler/v1"
	"antler/services/node/upgrade"
)

// AwaitServing waits until a master serves, other than on the node not.
func (c *Cluster) AwaitServing(ctx context.Context, not string) (*Machine, error) {
	var serving *Machine

	err := c.await(ctx, "a serving master", func(status *antlerv1.ClusterStatus) string {
		node := status.GetServing().GetNode()
		if node == "" || node == not || status.GetServing().GetPhase() != "serving" || len(status.GetServing().GetAddresses()) == 0 {
			return fmt.Sprintf("served by %q, phase %q", node, status.GetServing().GetPhase())
		}

		serving = c.Machine(node)

		return ""
	})

	return serving, err
}

// AwaitLeader waits until the node leads the quorum.
func (c *Cluster) AwaitLeader(ctx context.Context, name string) error {
	return c.await(ctx, name+" to lead the quorum", func(status *antlerv1.ClusterStatus) string {
		if leader := status.GetAuthority().GetLeader(); leader != name {
			return fmt.Sprintf("%q leads", leader)
		}

		return ""
	})
}

// AwaitHeard waits until the others hear of the node.
func (c *Cluster) AwaitHeard(ctx context.Context, name string) error {
	return c.await(ctx, name+" to be heard of", func(status *antlerv1.ClusterStatus) string {
		for _, node := range status.GetNodes() {
			if node.GetName() == name && node.GetAlive() {
				return ""
			}
		}

		return "no word from it"
	})
}

// AwaitHealthy waits until everything is as it should be: both replicas up to
// date, every node alive, every chunkserver there.
func (c *Cluster) AwaitHealthy(ctx context.Context) error {
	return c.await(ctx, "a healthy cluster", func(status *antlerv1.ClusterStatus) string {
		if status.GetHealth() == antlerv1.Health_HEALTH_OK {
			return ""
		}

		return problems(status)
	})
}

// What the summaries of two problems end in. A chunk that was promised to a client
// and that nobody made counts for up to an hour (docs/limits.md): whether anything
// is lost, reading it back shows. A copy is made again five minutes after a
// chunkserver was lost, so that one which only boots costs nothing.
const (
	promisedChunk = "have no copy, though all chunkservers are there"
	copyToMake    = "have one copy left of several"
)

// AwaitSettled waits until all nodes, services and replicas are as they should
// be. Chunks that MooseFS has yet to look after don't count.
func (c *Cluster) AwaitSettled(ctx context.Context) error {
	return c.awaitAllBut(ctx, "a cluster that has healed", promisedChunk, copyToMake)
}

// AwaitCopies waits until every chunk that was ever made has all its copies, too.
func (c *Cluster) AwaitCopies(ctx context.Context) error {
	return c.awaitAllBut(ctx, "all copies of all chunks", promisedChunk)
}

// AwaitUpgradable waits until the node would be upgraded if it were asked to.
func (c *Cluster) AwaitUpgradable(ctx context.Context, name string) error {
	return c.await(ctx, name+" to be one that may restart", func(status *antlerv1.ClusterStatus) string {
		return upgrade.MayRestart(status, name)
	})
}

// AwaitProblem waits until the status mentions the text as a problem.
func (c *Cluster) AwaitProblem(ctx context.Context, text string) error {
	return c.await(ctx, fmt.Sprintf("a problem that mentions %q", text), func(status *antlerv1.ClusterStatus) string {
		for _, p := range status.GetProblems() {
			if strings.Contains(p.GetSummary()+p.GetAdvice(), text) {
				return ""
			}
		}

		return problems(status)
	})
}

func (c *Cluster) awaitAllBut(ctx context.Context, what string, passing ...string) error {
	return c.await(ctx, what, func(status *antlerv1.ClusterStatus) string {
		for _, p := range status.GetProblems() {
			if !slices.ContainsFunc(passing, func(end string) bool { return strings.HasSuffix(p.GetSummary(), end) }) {
				return problems(status)
			}
		}

		if status.GetServing().GetNode() == "" {
			return "nobody serves"
		}

		return ""
	})
}

func problems(status *antlerv1.ClusterStatus) string {
	text := status.GetHealth().String()
	for _, p := range status.GetProblems() {
		text += fmt.Sprintf("; %s %s", p.GetNode(), p.GetSummary())
	}

	return text
}

// pollInterval: each question costs an emulated node a TLS handshake.
const pollInterval = time.Second

// await asks whichever node answers until unmet returns "".
func (c *Cluster) await(ctx context.Context, what string, unmet func(*antlerv1.ClusterStatus) string) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()

	last := "no node answered"

	for {
		status, err := c.Status(ctx)
		if err == nil {
			last = unmet(status)
			if last == "" {
				return nil
			}
		} else if !errors.Is(err, context.Canceled) && ctx.Err() == nil {
			last = err.Error()
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %s", what, ctx.Err(), last)
		case <-ticker.C:
		}
	}
}
