package bootconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"antler/services/node/config"
)

// clearSecrets removes the secrets from the boot partition and says in StatusFile that
// the configuration is in force. The order is: rename, write without secrets,
// overwrite, remove. Flash memory may still hold a copy that only its own
// controller can reach: a card that held secrets is not given away.
func clearSecrets(boot Partition, raw []byte, cfg *config.Config, note string) error {
	stripped, had, err := strip(raw)
	if err != nil {
		return err
	}

	at := func(name string) string { return filepath.Join(boot.Dir(), name) }

	if had {
		err = boot.MakeWritable()
		if err != nil {
			return fmt.Errorf("secrets stay on the boot partition: %w", err)
		}

		err = os.Rename(at(File), at(taken))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("secrets stay on the boot partition: %w", err)
		}

		err = replace(at(File), stripped)
		if err != nil {
			return fmt.Errorf("write %s without its secrets: %w", File, err)
		}
	}

	err = wipe(boot, at(taken))
	if err != nil {
		return fmt.Errorf("secrets stay on the boot partition: %w", err)
	}

	if note != "" {
		note = "\nNote: " + note + "\n"
	}

	left := remaining(stripped, cfg)
	if left != nil {
		note += "\nNote: " + left.Error() + "\n"
	}

	return errors.Join(left, tell(boot, fmt.Sprintf("%s is in force: this is %s of cluster %s.\n\n"+
		"Its secrets were moved to the node; in the file they read %q. Leave those\n"+
		"lines as they are, edit others, and start the node again to change the configuration.\n",
		File, cfg.Node.Name, cfg.Cluster.Name, Kept)+note))
}

// wipe overwrites a file in place before it is removed: on a FAT its blocks
// would else be read with any tool for lost photos.
func wipe(boot Partition, path string) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}

	if err != nil {
		return err
	}

	file.Close()

	err = boot.MakeWritable()
	if err != nil {
		return err
	}

	file, err = os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()

	info, err := file.Stat()
	if err != nil {
		return err
	}

	_, err = file.Write(make([]byte, info.Size()))
	if err == nil {
		err = file.Sync()
	}

	if err != nil {
		return err
	}

	return os.Remove(path)
}

// tell writes StatusFile, unless it says so already.
func tell(boot Partition, text string) error {
	path := filepath.Join(boot.Dir(), StatusFile)

	last, err := os.ReadFile(path)
	if err == nil && string(last) == text {
		return nil
	}

	err = boot.MakeWritable()
	if err == nil {
		err = replace(path, []byte(text))
	}

	if err != nil {
		return fmt.Errorf("write %s: %w", StatusFile, err)
	}

	return nil
}

// replace writes a file so that after a power cut it is there whole, the old one
// or the new one.
func replace(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), "antler-new-")
	if err != nil {
		return err
	}

	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}

	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}

	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}

	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()

	return dir.Sync()
}
