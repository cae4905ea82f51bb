package replication

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"antler/services/node/config"
)

// MarkerPath is where this node remembers that it made a replica.
const MarkerPath = config.StateDir + "/replica.json"

// marker is what this node remembers of the replica it made. Without it DRBD's
// metadata on the device is somebody else's.
type marker struct {
	// ConsentID is the consent under which it was made.
	ConsentID string `json:"consentID"`
	// Device as it was named at the time, for people.
	Device string `json:"device"`
	// Created says that DRBD's metadata was written as a whole. Until then the
	// device counts as blank: this node is writing to it.
	Created bool `json:"created"`
}

// markerFile keeps the marker.
type markerFile struct{ path string }

// read returns an empty marker if there is none.
func (m markerFile) read() (marker, error) {
	text, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return marker{}, nil
	}

	if err != nil {
		return marker{}, fmt.Errorf("read the replica's marker: %w", err)
	}

	var mark marker

	err = json.Unmarshal(text, &mark)
	if err != nil || mark.ConsentID == "" {
		return marker{}, fmt.Errorf("read the replica's marker: %s is damaged (%w): the replica is left alone; if its device is blank or not needed, remove that file", m.path, err)
	}

	return mark, nil
}

// write has the marker on disk, name and all, when it returns.
func (m markerFile) write(mark marker) error {
	text, err := json.Marshal(mark)
	if err != nil {
		return fmt.Errorf("write the replica's marker: %w", err)
	}

	err = writeDurably(m.path, append(text, '\n'))
	if err != nil {
		return fmt.Errorf("write the replica's marker: %w", err)
	}

	return nil
}

// writeDurably replaces the file at path, so that after a power cut there is
// either the old or the new one, and after it returned the new one.
func writeDurably(path string, content []byte) error {
	dir := filepath.Dir(path)

	err := os.MkdirAll(dir, 0o700)
	if err != nil {
		return err
	}

	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}

	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())

	if err != nil {
		return err
	}

	err = os.Rename(path+".new", path)
	if err != nil {
		return err
	}

	return syncDir(dir)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}

	return errors.Join(dir.Sync(), dir.Close())
}
