package talos

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"antler/services/node/config"
)

// TakenPath is where the service leaves for antlerd which devices are Talos's:
// machined tells the service only.
const TakenPath = config.RunDir + "/talos-devices.yaml"

// Taken are devices that are Talos's: their paths in /dev, and what they are to it.
type Taken map[string]string

// add a device, and the disk that it is a part of.
func (t Taken) add(device, disk, what string) {
	t[device] = "is " + what

	if _, known := t[disk]; disk != "" && !known {
		t[disk] = fmt.Sprintf("holds %s (%s)", what, device)
	}
}

// By says what the device that path leads to is to Talos, "" if it is nothing. It may
// be named by any link, such as those in /dev/disk.
func (t Taken) By(path string) string {
	device, err := filepath.EvalSymlinks(path)
	if err != nil {
		// Who opens it finds out what is wrong.
		return ""
	}

	return t[device]
}

// write leaves them at path.
func (t Taken) write(path string) error {
	content, err := yaml.Marshal(t)
	if err == nil {
		err = os.WriteFile(path+".new", content, 0o644)
	}

	if err == nil {
		err = os.Rename(path+".new", path)
	}

	if err != nil {
		return fmt.Errorf("tell antlerd which devices are Talos's: %w", err)
	}

	return nil
}

// ReadTaken reads what the service left at path: none, if it could not ask.
func ReadTaken(path string) (Taken, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}

	var taken Taken
	if err == nil {
		err = yaml.Unmarshal(content, &taken)
	}

	if err != nil {
		return nil, fmt.Errorf("read which devices are Talos's: %w: remove %s, which the next start of the service writes again", err, path)
	}

	return taken, nil
}
