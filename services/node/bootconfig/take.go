package bootconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"antler/services/node/config"
)

// Files on the boot partition.
const (
	// File is the configuration.
	File = "antler.yaml"
	// StatusFile says what became of it.
	StatusFile = "antler-status.txt"
	// taken is File on its way out, with its secrets.
	taken = "antler-taken.yaml"
	// maxSize is far above any configuration: the FAT is anybody's to write.
	maxSize = 1 << 20
)

// Kept stands in antler.yaml for a secret that the node has.
const Kept = "(kept on the node)"

// Partition is the mounted boot partition.
type Partition interface {
	// Dir is where it is mounted, read-only at first.
	Dir() string
	// MakeWritable is called before anything is written, once or more often.
	MakeWritable() error
}

// Result is what came of it. Where Refused is set the configuration at kept is
// what it was before, if there was one.
type Result struct {
	// Message for the console; "" when there is nothing to tell.
	Message string
	// Refused says what is wrong with antler.yaml.
	Refused error
	// Incomplete says what could not be written to the boot partition. The
	// configuration is in force nevertheless.
	Incomplete error
}

// Note says what a person should know of a configuration that is in force on this
// system, and that is no reason to refuse it; "" for nothing.
type Note func(*config.Config) string

// Take takes antler.yaml over to the file at kept. The certificates in it must
// be valid at the time now.
func Take(boot Partition, kept string, now time.Time, note Note) Result {
	raw, err := read(boot.Dir())
	if errors.Is(err, fs.ErrNotExist) {
		return absent(boot, kept, note)
	}

	if err != nil {
		return refuse(boot, kept, err)
	}

	last := lastTaken(kept)

	next, err := complete(raw, last, now)
	if err != nil {
		return refuse(boot, kept, err)
	}

	changed, err := keep(kept, next)
	if err != nil {
		return Result{Refused: fmt.Errorf("keep the configuration: %w", err)}
	}

	result := Result{Incomplete: clearSecrets(boot, raw, next, note(next))}
	if changed {
		result.Message = fmt.Sprintf("took over the configuration of %s of cluster %s from %s", next.Node.Name, next.Cluster.Name, File)
	}

	return result
}

// absent is right on a node that was set up, and also where a power cut came
// just after the file was renamed.
func absent(boot Partition, kept string, note Note) Result {
	last := lastTaken(kept)
	if last == nil {
		return refuse(boot, kept, fmt.Errorf("there is no %s on the boot partition, and this node was never configured: "+
			"put the file there that `antlerctl gen config` made for this node", File))
	}

	half, err := os.ReadFile(filepath.Join(boot.Dir(), taken))
	if err != nil {
		return Result{}
	}

	return Result{Incomplete: clearSecrets(boot, half, last, note(last))}
}

func read(dir string) ([]byte, error) {
	path := filepath.Join(dir, File)

	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}

	if info.Size() > maxSize {
		return nil, fmt.Errorf("%s has %d bytes, more than any configuration", File, info.Size())
	}

	return os.ReadFile(path)
}

// lastTaken is the configuration that the node has, or nil. One that can't be
// read is as good as none.
func lastTaken(kept string) *config.Config {
	raw, err := os.ReadFile(kept)
	if err != nil {
		return nil
	}

	last, err := config.Load(raw)
	if err != nil {
		return nil
	}

	return last
}

// complete decodes the file, fills in the secrets that the node has already, and
// validates the whole.
func complete(raw []byte, last *config.Config, now time.Time) (*config.Config, error) {
	next, err := config.Load(raw)
	if err != nil {
		return nil, err
	}

	var have []config.Secret
	if last != nil && last.Cluster.ID == next.Cluster.ID && last.Node.Name == next.Node.Name {
		have = last.Secrets()
	}

	var missing config.Problems

	for i, secret := range next.Secrets() {
		if *secret.Value != Kept {
			continue
		}

		if have == nil || *have[i].Value == "" {
			missing = append(missing, config.Problem{
				Path: secret.Path, Reason: "is " + Kept + ", but this node does not have it",
				Hint: "copy the whole file here again that `antlerctl gen config` made for this node",
			})

			continue
		}

		*secret.Value = *have[i].Value
	}

	if len(missing) > 0 {
		return nil, missing
	}

	return next, next.Validate(now)
}

// keep replaces the node's configuration in one step, and reports whether it
// differs from the last.
func keep(path string, next *config.Config) (bool, error) {
	raw, err := yaml.Marshal(next)
	if err != nil {
		return false, err
	}

	last, err := os.ReadFile(path)
	if err == nil && bytes.Equal(last, raw) {
		return false, nil
	}

	return true, replace(path, raw)
}

func refuse(boot Partition, kept string, err error) Result {
	outcome := "This node does nothing until that is mended."
	if lastTaken(kept) != nil {
		outcome = "This node goes on with the configuration it had before."
	}

	text := fmt.Sprintf("%s: %v\n\n%s\nCorrect %s here, on the boot partition, and start the node again.\n", File, err, outcome, File)

	return Result{
		Refused:    fmt.Errorf("%s on the boot partition: %w\n%s", File, err, outcome),
		Incomplete: tell(boot, text),
	}
}
