package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"antler/services/node/config/gen"
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

// Swap puts another disk, the image file at path, in the place of the one with the
// serial, in a machine that is off; path holds the old one afterwards.
func (c *Cluster) Swap(m *Machine, serial, path string) error {
	i := slices.IndexFunc(m.disks, func(d disk) bool { return d.serial == serial })
	if i < 0 {
		return fmt.Errorf("swap a disk of %s: it has none called %s", m.Name, serial)
	}

	c.Say("%s: %s is swapped for another disk", m.Name, serial)

	return unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, m.disks[i].file, unix.RENAME_EXCHANGE)
}

// Reform writes all machines, which are off, anew: a cluster of the same identity
// that waits for a restore. Of the old one only the disks with chunks are left.
func (c *Cluster) Reform(ctx context.Context) error {
	c.Say("all machines are written anew, but for their disks with chunks")

	dir := filepath.Join(c.Dir, "config")

	secrets, err := gen.LoadSecrets(filepath.Join(dir, gen.SecretsFile))
	if err != nil {
		return err
	}

	file := clusterFile(c.Options)
	file.Metadata.AwaitRestore = true

	files, err := gen.Generate(file, secrets, time.Now())
	if err != nil {
		return err
	}

	_, err = files.Write(dir)
	if err != nil {
		return err
	}

	for i, m := range c.Machines {
		disk, kept := filepath.Join(m.Dir, "chunks.img"), filepath.Join(m.Dir, "chunks.kept")

		err = os.Rename(disk, kept)
		if err == nil {
			err = m.flash(ctx, c.ConfigFile(m.Name), c.Antlerctl, i < 2)
		}

		if err == nil {
			err = os.Rename(kept, disk)
		}

		if err != nil {
			return err
		}
	}

	return nil
}
