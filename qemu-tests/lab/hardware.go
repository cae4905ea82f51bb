package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// Replace puts a new machine in the place of one that is off: the same name and
// configuration, all disks blank but for the image.
func (c *Cluster) Replace(ctx context.Context, m *Machine) error {
	i := slices.Index(c.Machines, m)
	c.Say("%s: a new machine with blank disks is put in its place", m.Name)

	return m.flash(ctx, c.ConfigFile(m.Name), c.Antlerctl, i < 2)
}

// ReplaceDisk puts a blank disk in the place of the one with the serial, in a
// machine that is off.
func (c *Cluster) ReplaceDisk(m *Machine, serial string, size int64) error {
	if !slices.ContainsFunc(m.disks, func(d disk) bool { return d.serial == serial }) {
		return fmt.Errorf("replace a disk of %s: it has none called %s", m.Name, serial)
	}

	c.Say("%s: a blank disk is put in the place of %s", m.Name, serial)

	return blank(filepath.Join(m.Dir, serial+".img"), size)
}

// ReplicaSize is that of the disks for replicas, in bytes.
const ReplicaSize = replica
