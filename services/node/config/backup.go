package config

import (
	"fmt"
	"strings"
	"time"
)

// Metadata is what is done for the metadata beside replicating it.
type Metadata struct {
	// Backup is made by the node that serves. There is none by default.
	Backup Backup `yaml:"backup,omitempty"`
	// AwaitRestore keeps a new cluster from making a file system of its own: it
	// waits for a person who restores that of a cluster that is gone. It means
	// nothing once there is a file system.
	AwaitRestore bool `yaml:"awaitRestore,omitempty"`
}

// Backup is a copy of the metadata at regular times. Directory and Keep are each
// metadata node's own: after a failover the next node goes on in the directory
// that it has under that name.
type Backup struct {
	// Directory that gets a directory for each backup; DefaultBackupDir if it is
	// empty.
	Directory string `yaml:"directory,omitempty"`
	// Every is the time from one backup to the next; 0 is off.
	Every time.Duration `yaml:"every,omitempty"`
	// Keep is how many stay; older ones are removed.
	Keep int `yaml:"keep,omitempty"`
}

// DefaultBackupDir is also where a person puts the copies that are to be
// restored from.
const DefaultBackupDir = StateDir + "/backups"

const (
	// minBackupInterval leaves the master time for its own work: for each backup
	// it saves all of its metadata.
	minBackupInterval = time.Minute
	maxBackups        = 10_000
)

// Enabled reports whether backups are made.
func (b Backup) Enabled() bool { return b.Every > 0 }

// Dir is where they go.
func (b Backup) Dir() string {
	if b.Directory == "" {
		return DefaultBackupDir
	}

	return b.Directory
}

func (c Cluster) validateBackup(p *Problems) {
	const path = "cluster.metadata.backup"

	b := c.Metadata.Backup
	if b == (Backup{}) {
		return
	}

	if b.Every < minBackupInterval {
		p.add(path+".every", fmt.Sprintf("%s is less than %s", b.Every, minBackupInterval), "write for example 1h; without backup there is none")
	}

	if b.Keep < 1 || b.Keep > maxBackups {
		p.add(path+".keep", fmt.Sprintf("%d is not in 1..%d", b.Keep, maxBackups), "write how many backups are to stay, for example 24")
	}

	dir := b.Dir()
	if !isPath(dir) {
		p.add(path+".directory", fmt.Sprintf("%q is not a clean absolute path", dir), "write for example "+DefaultBackupDir)

		return
	}

	for _, taken := range []struct{ dir, why string }{
		{MountPath, "is on the MooseFS that it is to bring back"},
		{AdminMountPath, "is on the MooseFS that it is to bring back"},
		{MetadataParent, "is on the replica, and would be lost with it"},
		{RunDir, "is lost when the node restarts"},
	} {
		if dir == taken.dir || strings.HasPrefix(dir, taken.dir+"/") {
			p.add(path+".directory", dir+" "+taken.why, "write a directory on another disk, for example "+DefaultBackupDir)
		}
	}
}
