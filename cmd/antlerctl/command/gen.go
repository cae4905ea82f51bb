package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"antler/services/node/config"
	"antler/services/node/config/gen"
)

func (a *app) genCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "gen",
		Short:   "Make a cluster's configuration files and certificates",
		Example: "  antlerctl gen config cluster.yaml -o home\n  antlerctl gen cert --ca home/ca.yaml --name grafana -o grafana.yaml",
	}
	cmd.AddCommand(a.genConfigCommand(), a.genCertCommand())

	return cmd
}

const genConfigHelp = `Make all files of a cluster from one small cluster file: a CA with the cluster's
secrets (ca.yaml), a configuration for each node (NODE.yaml), and one each for an
administrator and a reader (admin.yaml, reader.yaml).

Nothing is written unless all of it is right. Run again it keeps the CA and the
secrets and renews all certificates: so a changed cluster file, and certificates
about to end, need no other command. Keep ca.yaml in a safe place: who has it can
become anybody.

A cluster file:

  name: home
  floating: [192.168.1.250/24]    # where clients find the master; free for Antler
  nodes:
  - name: n1
    address: 192.168.1.11
    roles: [metadata, chunkserver, client]
    replica: {device: /dev/disk/by-id/...-part3}
    chunks: [{device: /dev/disk/by-id/...}]
  - name: n2
    address: 192.168.1.12
    roles: [metadata, chunkserver, client]
    replica: {device: /dev/disk/by-id/...-part3}
    chunks: [{device: /dev/disk/by-id/...}]
  - name: n3
    address: 192.168.1.13
    roles: [witness, chunkserver, metalogger, client]
    chunks: [{path: /var/lib/antler/chunks}]
  storage: {copies: 2}            # of each chunk, on different nodes

Also known: networks (who may mount), storage.trashTime (seconds),
storage.durability (safe, or lose-seconds-on-power-cut), and for each node
network: {interface or mac, addresses, gateway, dns, ntp, dhcp} and
debug: {consoleShell}.

With --talos each node gets two patches of its Talos machine configuration as
well: NODE.talos-machine.yaml, to be applied once, and NODE.talos-service.yaml,
the ExtensionServiceConfig, each time it is made anew:

  talosctl -n 192.168.1.11 patch mc --patch @home/n1.talos-machine.yaml
  talosctl -n 192.168.1.11 patch mc --patch @home/n1.talos-service.yaml

What it has been seen to do on Talos, and what not, is in docs/talos.`

func (a *app) genConfigCommand() *cobra.Command {
	var (
		dir  string
		want genWanted
		drbd string
	)

	cmd := &cobra.Command{
		Use:     "config CLUSTERFILE",
		Short:   "Make the files of all nodes and people from a cluster file",
		Long:    genConfigHelp,
		Example: "  antlerctl gen config cluster.yaml -o home\n  antlerctl gen config cluster.yaml -o home           # again: renew certificates, add nodes\n  antlerctl gen config cluster.yaml -o home --force   # a new CA: all old files become useless",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, given []string) error {
			want.drbd = gen.TalosDRBD(drbd)

			return a.genConfig(given[0], dir, want)
		},
	}
	cmd.Flags().StringVarP(&dir, "output", "o", ".", "directory for the files; made if it is not there")
	cmd.Flags().BoolVar(&want.talos, "talos", false, "also make the patches of each node's Talos machine configuration")
	cmd.Flags().StringVar(&drbd, "talos-drbd", string(gen.TalosDRBD9), "the DRBD that the Talos nodes have: 9 (Talos's own extension) or 8.4 (a kernel of your own)")
	cmd.Flags().BoolVar(&want.force, "force", false, "make a new CA and new secrets, even if there are some")
	_ = cmd.MarkFlagDirname("output")

	return cmd
}

// genWanted is what the flags of `gen config` ask for.
type genWanted struct {
	force, talos bool
	drbd         gen.TalosDRBD
}

func (a *app) genConfig(path, dir string, want genWanted) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read cluster file: %w", err)
	}

	file, err := gen.ParseClusterFile(raw)
	if err != nil {
		return fmt.Errorf("cluster file %s: %w", path, err)
	}

	secrets, err := gen.SecretsFor(dir, file.Name, want.force, a.Now())
	if err != nil {
		return err
	}

	files, err := gen.Generate(file, secrets, a.Now())
	if err == nil && want.talos {
		err = files.CheckTalos(want.drbd)
	}

	var problems config.Problems
	if errors.As(err, &problems) {
		return fmt.Errorf("cluster file %s: %w", path, err)
	}

	if err != nil {
		return err
	}

	written, err := writeGenerated(files, dir, want)
	if err != nil {
		return err
	}

	for _, path := range written {
		_, err = fmt.Fprintln(a.Out, path)
		if err != nil {
			return err
		}
	}

	give := "Give each node its own file, with the image by `antlerctl flash` or as " + config.DefaultPath
	if want.talos {
		give = "Patch each node's machine configuration with its own .talos-machine.yaml and .talos-service.yaml"
	}

	_, err = fmt.Fprintf(a.Err, "%s, and look at the cluster with\n  antlerctl -c %s status\n", give, filepath.Join(dir, "admin.yaml"))

	return err
}

func writeGenerated(files *gen.Files, dir string, want genWanted) ([]string, error) {
	written, err := files.Write(dir)
	if err != nil || !want.talos {
		return written, err
	}

	patches, err := files.WriteTalos(dir, want.drbd)

	return append(written, patches...), err
}

func (a *app) genCertCommand() *cobra.Command {
	var (
		secrets, role, name, path string
		lifetime                  time.Duration
	)

	cmd := &cobra.Command{
		Use:     "cert --name NAME -o FILE",
		Short:   "Make a client configuration for one more person",
		Long:    "Make a client configuration with a certificate of its own, signed by the\ncluster's CA. The role reader may look, the role admin may do everything.",
		Example: "  antlerctl gen cert --ca home/ca.yaml --name grafana --role reader -o grafana.yaml",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			organization, known := map[string]string{"admin": config.OrganizationAdmin, "reader": config.OrganizationReader}[role]
			if !known {
				return usageError{fmt.Errorf("--role %s: use admin or reader", role)}
			}

			if lifetime <= 0 {
				return usageError{fmt.Errorf("--lifetime %s: must be above 0", lifetime)}
			}

			loaded, err := gen.LoadSecrets(secrets)
			if err != nil {
				return err
			}

			client, err := loaded.Client(name, organization, a.Now(), lifetime)
			if err != nil {
				return err
			}

			return gen.WriteClient(path, client)
		},
	}
	cmd.Flags().StringVar(&secrets, "ca", gen.SecretsFile, "the cluster's ca.yaml")
	cmd.Flags().StringVar(&role, "role", "reader", "admin or reader")
	cmd.Flags().StringVar(&name, "name", "", "whose it is, for the records")
	cmd.Flags().StringVarP(&path, "output", "o", "", "file to write")
	cmd.Flags().DurationVar(&lifetime, "lifetime", 365*24*time.Hour, "how long it is valid")
	_ = cmd.MarkFlagRequired("name")
	_ = cmd.MarkFlagRequired("output")

	return cmd
}
