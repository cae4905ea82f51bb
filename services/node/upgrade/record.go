package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"antler/image/slots"
	"antler/image/verity"
)

// Record is what the node remembers of its last upgrade, across the restart.
type Record struct {
	// Slot that was written.
	Slot string `json:"slot"`
	// Outcome is what became of it; "" as long as nobody has said so.
	Outcome string `json:"outcome,omitempty"`
}

// ReadRecord returns nil if there was no upgrade.
func ReadRecord(path string) (*Record, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}

	if err != nil {
		return nil, err
	}

	record := &Record{}

	return record, json.Unmarshal(data, record)
}

// Write replaces the file whole.
func (r Record) Write(path string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}

	f, err := os.CreateTemp(filepath.Dir(path), ".upgrade-*")
	if err != nil {
		return err
	}
	defer f.Close()

	_, err = f.Write(data)

	return errors.Join(err, f.Sync(), os.Rename(f.Name(), path))
}

// describe says how the upgrade ended for a node that was started so, and whose
// next start is that of the state.
func (r *Record) describe(started slots.Started, state slots.State) string {
	switch {
	case r == nil:
		return ""
	case r.Outcome != "":
		return r.Outcome
	case started.Trial:
		return ""
	case state.Try == r.Slot:
		return fmt.Sprintf("slot %s is written, and tried at the next start", r.Slot)
	case state.Slot == r.Slot:
		return fmt.Sprintf("slot %s was committed", r.Slot)
	default:
		return fmt.Sprintf("slot %s was tried and did not get as far as to say why it failed: its kernel panicked, or it lost its power; see its console", r.Slot)
	}
}

// Info is what a node says of its system.
type Info struct {
	Started slots.Started
	State   slots.State
	// Root is the argument that names the root.
	Root string
	// BootID is another one after every start.
	BootID string
	// Missing is what a trial waits for.
	Missing string
	// Last says how the last upgrade ended.
	Last string
	// NotUpgradable says why the node can't be upgraded in place.
	NotUpgradable string
}

// Paths of a node.
type Paths struct {
	// Cmdline and BootID are the kernel's.
	Cmdline, BootID string
	// Record is kept, Missing is volatile.
	Record, Missing string
}

// HostPaths are those of the appliance.
func HostPaths(run, state string) Paths {
	return Paths{
		Cmdline: "/proc/cmdline", BootID: "/proc/sys/kernel/random/boot_id",
		Record: filepath.Join(state, "upgrade.json"), Missing: filepath.Join(run, "trial-missing"),
	}
}

// Started reads how this machine was started.
func (p Paths) Started() (slots.Started, error) {
	cmdline, err := os.ReadFile(p.Cmdline)

	return slots.ParseStarted(string(cmdline)), err
}

// root is the argument that names the root, "" without one.
func (p Paths) root() string {
	cmdline, err := os.ReadFile(p.Cmdline)
	if err != nil {
		return ""
	}

	root, err := verity.Parse(string(cmdline))
	if err != nil {
		return ""
	}

	return root.Argument()
}

// Look returns what the node is.
func Look(card Card, paths Paths) (Info, error) {
	var info Info

	started, err := paths.Started()
	if err != nil {
		return info, err
	}

	id, err := os.ReadFile(paths.BootID)
	if err != nil {
		return info, err
	}

	missing, _ := os.ReadFile(paths.Missing)

	info = Info{Started: started, Root: paths.root(), BootID: strings.TrimSpace(string(id)), Missing: string(missing), NotUpgradable: notUpgradable(started)}
	if info.NotUpgradable != "" {
		return info, nil
	}

	info.State, err = ReadState(card)
	if err != nil {
		return info, err
	}

	record, err := ReadRecord(paths.Record)
	if err != nil {
		return info, fmt.Errorf("read what became of the last upgrade: %w", err)
	}

	info.Last = record.describe(started, info.State)

	return info, nil
}

func notUpgradable(started slots.Started) string {
	switch {
	case started.Slot == "":
		return "this node's system is not in one of two slots, and can't be upgraded in place: write its card anew with `antlerctl flash`"
	case !started.Loader:
		return "this node was not started by the boot loader of its card, which would have to start the other slot"
	default:
		return ""
	}
}
