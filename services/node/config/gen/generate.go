package gen

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"antler/services/node/config"
)

// Files is everything that is made for a cluster.
type Files struct {
	Secrets *Secrets
	// Nodes in the order of the cluster file.
	Nodes []*config.Config
	// Admin and Reader are for people.
	Admin, Reader *config.Client
}

// Generate makes everything for the cluster that file describes, and validates
// it. What is wrong is reported all at once, with the paths of the cluster file
// (config.Problems).
func Generate(file *ClusterFile, secrets *Secrets, now time.Time) (*Files, error) {
	members := file.members()

	cluster := config.Cluster{
		Name:              file.Name,
		ID:                secrets.ID,
		Nodes:             members,
		Floating:          file.Floating,
		Networks:          file.networks(),
		Storage:           file.storage(members),
		Metadata:          file.Metadata,
		Kubernetes:        file.Kubernetes,
		Password:          secrets.Password,
		AdminPassword:     secrets.AdminPassword,
		ChunkserverSecret: secrets.ChunkserverSecret,
	}

	nodes, err := nodeConfigs(file, cluster, secrets, now)
	if err != nil {
		return nil, err
	}

	err = validate(nodes, now)
	if err != nil {
		return nil, err
	}

	kept := *secrets
	kept.Endpoints = endpoints(members)
	files := &Files{Secrets: &kept, Nodes: nodes}

	files.Admin, err = kept.Client("admin", config.OrganizationAdmin, now, 0)
	if err != nil {
		return nil, err
	}

	files.Reader, err = kept.Client("reader", config.OrganizationReader, now, 0)
	if err != nil {
		return nil, err
	}

	return files, nil
}

func nodeConfigs(file *ClusterFile, cluster config.Cluster, secrets *Secrets, now time.Time) ([]*config.Config, error) {
	authority, err := LoadAuthority(secrets.CACert, secrets.CAKey)
	if err != nil {
		return nil, err
	}

	if now.After(authority.cert.NotAfter) {
		return nil, fmt.Errorf("the cluster's CA expired on %s: make a new one with --force, and give every node its new file",
			authority.cert.NotAfter.UTC().Format(time.DateOnly))
	}

	out := make([]*config.Config, 0, len(file.Nodes))

	for i, n := range file.Nodes {
		pki, err := authority.Node(cluster.Nodes[i], cluster, now)
		if err != nil {
			return nil, err
		}

		out = append(out, &config.Config{
			Version: 1,
			Cluster: cluster,
			Node:    config.Node{Name: n.Name, Replica: n.Replica, Chunks: n.Chunks, Network: n.Network, K3s: n.K3s, Debug: n.Debug},
			PKI:     pki,
		})
	}

	return out, nil
}

func endpoints(members []config.Member) []config.Endpoint {
	out := make([]config.Endpoint, 0, len(members))

	for _, m := range members {
		out = append(out, config.Endpoint{Node: m.Name, Address: netip.AddrPortFrom(m.Address, config.APIPort).String()})
	}

	return out
}

// reserved are the names of files that are not of nodes.
func reserved() []string { return []string{"ca", "admin", "reader"} }

// validate collects the problems of all nodes in the words of the cluster file.
func validate(nodes []*config.Config, now time.Time) error {
	var all config.Problems

	if len(nodes) == 0 {
		all = append(all, config.Problem{Path: "nodes", Reason: "there are none", Hint: "name at least one"})
	}

	for i, node := range nodes {
		if slices.Contains(reserved(), node.Node.Name) {
			all = append(all, config.Problem{
				Path:   fmt.Sprintf("nodes[%d].name", i),
				Reason: fmt.Sprintf("%s.yaml is the name of another file here", node.Node.Name),
				Hint:   "choose another name",
			})
		}

		err := node.Validate(now)
		if err == nil {
			continue
		}

		var problems config.Problems
		if !errors.As(err, &problems) {
			return err
		}

		for _, problem := range problems {
			// Certificates were made just now: whatever is wrong with them comes
			// from a name or an address that is reported itself.
			if strings.HasPrefix(problem.Path, "pki.") && len(problems)+len(all) > 1 {
				continue
			}

			translate(&problem, i)

			if !slices.Contains(all, problem) {
				all = append(all, problem)
			}
		}
	}

	if len(all) == 0 {
		return nil
	}

	return all
}

// translate replaces the path in the configuration of the i-th node by the one
// in the cluster file.
func translate(problem *config.Problem, i int) {
	if own, found := strings.CutPrefix(problem.Path, "node."); found {
		problem.Path = fmt.Sprintf("nodes[%d].%s", i, own)
	}

	problem.Path = strings.TrimPrefix(problem.Path, "cluster.")
	problem.Reason = strings.ReplaceAll(problem.Reason, "cluster.n", "n")
	problem.Reason = strings.ReplaceAll(problem.Reason, "node.replica", fmt.Sprintf("nodes[%d].replica", i))
}
