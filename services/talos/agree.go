package talos

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"antler/services/node/config"
)

// Check compares the configuration with what Talos knows of the node, before
// anything of the node is touched.
type Check struct {
	Machine Machine
	// Path is where the devices that are Talos's are written for antlerd.
	Path   string
	Logger *zap.Logger
	// Patience is how long a node that just boots may take to get its name and its
	// addresses, Interval is between two looks. Each look ends after LookTime.
	Patience, Interval, LookTime time.Duration
}

// Times of a check. A serving node has its name and addresses, and waits for none.
const (
	Patience     = 10 * time.Second
	LookInterval = time.Second
	LookTime     = 3 * time.Second
)

// Run returns what differs, as config.Problems, if it still does after Patience. What
// Talos doesn't say keeps no node from starting.
func (c Check) Run(ctx context.Context, cfg *config.Config) error {
	patience, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()

	ticker := time.NewTicker(c.Interval)
	defer ticker.Stop()

	for {
		facts, err := c.look(ctx)
		if err != nil {
			c.Logger.Warn("the node's name, addresses and disks are not compared with the configuration", zap.Error(err))

			return nil
		}

		err = facts.Differ(cfg)
		if err == nil && facts.Hostname != "" && len(facts.Addresses) > 0 {
			return c.leave(facts)
		}

		select {
		case <-ticker.C:
			continue
		case <-patience.Done():
		}

		if err != nil {
			return err
		}

		c.Logger.Warn("the node has no name or no address yet, and is started as the configuration says")

		return c.leave(facts)
	}
}

func (c Check) look(ctx context.Context) (Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, c.LookTime)
	defer cancel()

	return c.Machine.Facts(ctx)
}

func (c Check) leave(facts Facts) error {
	err := facts.Taken.write(c.Path)
	if err != nil {
		c.Logger.Warn("a device of Talos's is refused only by what is on it", zap.Error(err))
	}

	return nil
}

const otherNode = "apply NODE.talos-service.yaml of the node that this is"

// Differ says where the configuration is that of another node.
func (f Facts) Differ(cfg *config.Config) error {
	var problems config.Problems

	if f.Hostname != "" && !f.named(cfg.Node.Name) {
		problems = append(problems, config.Problem{
			Path: "node.name", Reason: fmt.Sprintf("%s is not the host name that Talos has, %s", cfg.Node.Name, f.Hostname),
			Hint: otherNode + ", or correct hostname in its machine configuration",
		})
	}

	own := slices.IndexFunc(cfg.Cluster.Nodes, func(m config.Member) bool { return m.Name == cfg.Node.Name })
	if own >= 0 && len(f.Addresses) > 0 && !slices.Contains(f.Addresses, cfg.Cluster.Nodes[own].Address) {
		problems = append(problems, config.Problem{
			Path:   fmt.Sprintf("cluster.nodes[%d].address", own),
			Reason: fmt.Sprintf("%s is not among the addresses that Talos has, %v", cfg.Cluster.Nodes[own].Address, f.Addresses),
			Hint:   otherNode + ", or correct the network in its machine configuration",
		})
	}

	if len(problems) == 0 {
		return nil
	}

	return problems
}

// named reports whether the node has the name, with its domain or without.
func (f Facts) named(name string) bool {
	return strings.EqualFold(name, f.Hostname) || strings.EqualFold(name, f.Hostname+"."+f.Domainname)
}
