package replication

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"antler/services/node/config"
)

// finding is what a look at the backing device told. It never writes.
type finding struct {
	phase Phase
	// problem says, for PhaseMissing and PhaseRefused, what is wrong and what to
	// do about it.
	problem string
	size    int64
	// last is the phase before the device is looked at again.
	last Phase
}

// Device is the backing device, as far as inspecting and zeroing it needs.
type Device interface {
	// Size in bytes. The error is fs.ErrNotExist if the device isn't there, and
	// syscall.EBUSY if it is mounted or otherwise in use, and a *TakenError if it
	// belongs to something else.
	Size(path string) (int64, error)
	// Blank reports whether the first and last mebibyte are all zero.
	Blank(path string) (bool, error)
	// Zero makes the whole device read as zeros.
	Zero(ctx context.Context, path string) error
}

// inspector looks at a device nobody has attached yet.
type inspector struct {
	device Device
	runner Runner
	marker markerFile
}

// inspect says what may be done with the device. consent is the quorum's, empty
// if it isn't known.
func (i inspector) inspect(ctx context.Context, path, consent string) (finding, error) {
	size, err := i.device.Size(path)
	taken := new(TakenError)

	switch {
	case errors.As(err, &taken):
		return refuse("replica device %s %s: name another device in node.replica.device", path, taken.By), nil
	case errors.Is(err, fs.ErrNotExist):
		return finding{phase: PhaseMissing, problem: fmt.Sprintf(
			"replica device %s is not there: connect the disk, or correct node.replica.device in the configuration", path)}, nil
	case errors.Is(err, syscall.EBUSY):
		return refuse("replica device %s is in use (mounted, or part of something else): unmount it, or name another device", path), nil
	case err != nil:
		return finding{}, fmt.Errorf("look at replica device %s: %w", path, err)
	case size < config.MinReplicaSize:
		return refuse("replica device %s has %d MiB, but %d MiB is the least: name a larger device", path, size>>20, config.MinReplicaSize>>20), nil
	}

	mark, err := i.marker.read()
	if err != nil {
		return finding{}, err
	}

	signatures, err := i.signatures(ctx, path)
	if err != nil {
		return finding{}, err
	}

	found, err := i.judge(path, consent, mark, signatures)
	found.size = size

	return found, err
}

// judge weighs what is on the device against what this node remembers.
func (i inspector) judge(path, consent string, mark marker, signatures []signature) (finding, error) {
	// What is on the replica shows through: DRBD's metadata is at the end of the
	// device, its content begins where the device does.
	drbd := slices.ContainsFunc(signatures, func(s signature) bool { return s.Type == "drbd" })

	switch {
	case mark.ConsentID != "" && consent != "" && mark.ConsentID != consent:
		return refuse("replica device %s: %s says that this node made a replica for another cluster: see that nothing on it is needed, then remove that file and run \"wipefs -a %s\"",
			path, i.marker.path, path), nil
	case drbd && mark.ConsentID == "":
		return refuse("replica device %s holds a DRBD replica that this installation did not make (another cluster's, or this node was reinstalled): if nothing on it is needed, run \"wipefs -a %s\" and \"blkdiscard -z %s\"",
			path, path, path), nil
	case drbd:
		return finding{phase: PhaseDown}, nil
	case len(signatures) > 0:
		return refuse("replica device %s holds %s: if it is not needed, run \"wipefs -a %s\" and \"blkdiscard -z %s\"",
			path, describe(signatures), path, path), nil
	}

	// A crash while DRBD's metadata was being written leaves half of it.
	if mark.ConsentID != "" && !mark.Created {
		return finding{phase: PhaseBlank}, nil
	}

	blank, err := i.device.Blank(path)
	if err != nil {
		return finding{}, fmt.Errorf("read replica device %s: %w", path, err)
	}

	if !blank {
		return refuse("replica device %s holds data without a known signature: if it is not needed, run \"blkdiscard -z %s\"", path, path), nil
	}

	return finding{phase: PhaseBlank}, nil
}

func refuse(format string, args ...any) finding {
	return finding{phase: PhaseRefused, problem: fmt.Sprintf(format, args...)}
}

// signature is what wipefs found on a device.
type signature struct {
	Type   string  `json:"type"`
	Offset string  `json:"offset"`
	Label  *string `json:"label"`
}

// signatures asks wipefs, which knows every file system, RAID and partition table
// that libblkid does. It only reads.
func (i inspector) signatures(ctx context.Context, path string) ([]signature, error) {
	output, err := i.runner.Run(ctx, "wipefs", "--json", "--no-act", path)
	if err != nil {
		return nil, fmt.Errorf("look for signatures on replica device %s: %w", path, err)
	}

	return parseSignatures(output)
}

func parseSignatures(output string) ([]signature, error) {
	var found struct {
		Signatures []signature `json:"signatures"`
	}

	// Without a signature some versions print nothing at all.
	if strings.TrimSpace(output) == "" {
		return nil, nil
	}

	err := json.Unmarshal([]byte(output), &found)
	if err != nil {
		return nil, fmt.Errorf("read what wipefs says: %w", err)
	}

	return found.Signatures, nil
}

func describe(signatures []signature) string {
	words := make([]string, 0, len(signatures))

	for _, s := range signatures {
		word := s.Type
		if s.Label != nil && *s.Label != "" {
			word += fmt.Sprintf(" (%q)", *s.Label)
		}

		words = append(words, word+" at "+s.Offset)
	}

	return strings.Join(words, ", ")
}
