package metadata

import (
	"context"
	"os"
	"time"

	"antler/services/metadata/files"
	"antler/services/node/config"
)

// Backups of the metadata that this node makes.
type Backups interface {
	// Newest says when the last one was made; zero if there is none.
	Newest() (time.Time, error)
	// Make one that reaches the version, and remove those that are too old. It
	// may take long to return after ctx has ended, but holds nothing of the
	// replica open then.
	Make(ctx context.Context, version uint64) (files.Source, error)
}

// HostBackups are in a directory of this node.
type HostBackups struct {
	Config config.Backup
	Places files.Places
	// Master is the one on this node.
	Master Prober
	Now    func() time.Time
}

func (b HostBackups) files() files.Backups {
	return files.Backups{Dir: b.Config.Dir(), Places: b.Places}
}

// Newest implements Backups.
func (b HostBackups) Newest() (time.Time, error) {
	err := b.ensureOwn()
	if err != nil {
		return time.Time{}, err
	}

	return b.files().Newest()
}

// ensureOwn makes the default directory. Any other one is a person's, who may
// have forgotten to mount it.
func (b HostBackups) ensureOwn() error {
	if b.Config.Dir() != config.DefaultBackupDir {
		return nil
	}

	return os.MkdirAll(config.DefaultBackupDir, 0o700)
}

// Make implements Backups.
func (b HostBackups) Make(ctx context.Context, version uint64) (files.Source, error) {
	now := b.Now()

	err := b.Master.Save(ctx)
	if err != nil {
		return files.Source{}, err
	}

	source, err := b.files().Make(ctx, now, version)
	if err != nil {
		return source, err
	}

	return source, b.files().Prune(b.Config.Keep)
}
