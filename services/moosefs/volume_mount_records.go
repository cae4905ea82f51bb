package moosefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// record writes down that a mount is wanted. It is there whole or not at all.
func (m *VolumeMounts) record(id string, want VolumeMountSpecSpec) error {
	content, err := json.Marshal(want)
	if err != nil {
		return err
	}

	err = os.MkdirAll(m.Records, 0o700)
	if err != nil {
		return err
	}

	path := filepath.Join(m.Records, id)

	// No volume's id begins with a dot.
	begun := filepath.Join(m.Records, "."+id)

	err = os.WriteFile(begun, content, 0o600)
	if err != nil {
		return err
	}

	return os.Rename(begun, path)
}

func (m *VolumeMounts) forget(id string) error {
	err := os.Remove(filepath.Join(m.Records, id))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget the mount of volume %s: %w", id, err)
	}

	return nil
}

// Restore asks for the mounts that an earlier run of antlerd was asked for. It is
// called before the controllers run: a container that nobody asks for is stopped.
// A record that can't be read is an error, and keeps no other from being used.
func (m *VolumeMounts) Restore(ctx context.Context) error {
	entries, err := os.ReadDir(m.Records)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}

	if err != nil {
		return fmt.Errorf("look for mounts of volumes: %w", err)
	}

	var all error

	for _, entry := range entries {
		if entry.Name()[0] == '.' {
			continue // one that was begun
		}

		err := m.restore(ctx, entry.Name())
		if err != nil {
			all = errors.Join(all, fmt.Errorf("restore the mount of volume %s from %s: %w", entry.Name(), m.Records, err))
		}
	}

	return all
}

func (m *VolumeMounts) restore(ctx context.Context, id string) error {
	content, err := os.ReadFile(filepath.Join(m.Records, id))
	if err != nil {
		return err
	}

	res := NewVolumeMountSpec(id)

	err = json.Unmarshal(content, res.TypedSpec())
	if err == nil {
		err = check(res.TypedSpec().Volume, id)
	}

	if err != nil {
		return err
	}

	return m.State.Create(ctx, res)
}
