package lab

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"antler/services/node/config"
	"antler/services/node/config/gen"
)

// flash makes the configuration as `antlerctl gen config` does, and the disks.
func (c *Cluster) flash(ctx context.Context) error {
	now := time.Now()

	secrets, err := gen.NewSecrets("lab", now)
	if err != nil {
		return err
	}

	files, err := gen.Generate(clusterFile(c.Options), secrets, now)
	if err != nil {
		return err
	}

	files.Admin.Endpoints = nil
	for _, m := range c.Machines {
		files.Admin.Endpoints = append(files.Admin.Endpoints,
			config.Endpoint{Node: m.Name, Address: fmt.Sprintf("127.0.0.1:%d", m.APIPort)})
	}

	c.Admin = files.Admin

	_, err = files.Write(filepath.Join(c.Dir, "config"))
	if err != nil {
		return err
	}

	suffix := ""

	if c.Image.talos {
		suffix = ".talos"

		if err = c.configureTalos(files); err != nil {
			return err
		}
	}

	for i, m := range c.Machines {
		err = m.flash(ctx, c.ConfigFile(m.Name+suffix), c.Antlerctl, i < 2)
		if err != nil {
			return err
		}
	}

	return nil
}

// ConfigFile is the path of a node's configuration, or of admin's.
func (c *Cluster) ConfigFile(name string) string {
	return filepath.Join(c.Dir, "config", name+".yaml")
}

func clusterFile(options Options) *gen.ClusterFile {
	file := &gen.ClusterFile{
		Name:       "lab",
		Storage:    gen.Storage{Durability: options.Durability},
		Metadata:   config.Metadata{Backup: options.Backup},
		Kubernetes: options.Kubernetes,
		Floating: []netip.Prefix{
			netip.MustParsePrefix(Floating + "/24"), netip.MustParsePrefix("fd77::10/64"),
		},
		Networks: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24"), netip.MustParsePrefix("fd77::/64")},
	}

	for i := 1; i <= options.Nodes; i++ {
		node := gen.Node{
			Name:    fmt.Sprintf("n%d", i),
			Address: netip.MustParseAddr(fmt.Sprintf("10.77.0.1%d", i)),
			Roles:   []config.Role{config.RoleMetadata, config.RoleChunkserver, config.RoleMetalogger, config.RoleClient},
			Replica: config.Replica{Device: "/dev/disk/by-id/virtio-replica"},
			Chunks:  []config.ChunkStore{{Device: "/dev/disk/by-id/virtio-chunks"}},
		}

		// On Talos both are Talos's.
		if !options.Image.talos {
			node.Debug = config.Debug{ConsoleShell: true}
			node.Network = config.Network{MAC: mac(i), Addresses: []netip.Prefix{
				netip.MustParsePrefix(fmt.Sprintf("10.77.0.1%d/24", i)), netip.MustParsePrefix(fmt.Sprintf("fd77::1%d/64", i)),
			}}
		}

		if i == 3 {
			node.Roles[0], node.Replica = config.RoleWitness, config.Replica{}
		}

		file.Nodes = append(file.Nodes, node)
	}

	return file
}
