package lab

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// qmp sends one command to QEMU's monitor; arguments may be nil.
func (m *Machine) qmp(command string, arguments map[string]any) error {
	conn, err := net.Dial("unix", filepath.Join(m.Dir, "qmp.sock"))
	if err != nil {
		return fmt.Errorf("monitor of %s: %w", m.Name, err)
	}
	defer conn.Close()

	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))

	decoder, encoder := json.NewDecoder(conn), json.NewEncoder(conn)

	var greeting json.RawMessage
	if err = decoder.Decode(&greeting); err != nil {
		return fmt.Errorf("monitor of %s: %w", m.Name, err)
	}

	for _, request := range []request{{Execute: "qmp_capabilities"}, {command, arguments}} {
		if err = encoder.Encode(request); err != nil {
			return fmt.Errorf("monitor of %s: %w", m.Name, err)
		}

		if err = answer(decoder); err != nil {
			return fmt.Errorf("monitor of %s: %s: %w", m.Name, request.Execute, err)
		}
	}

	return nil
}

// request is a command as the monitor takes it.
type request struct {
	Execute   string         `json:"execute"`
	Arguments map[string]any `json:"arguments,omitempty"`
}

// StallDisk lets the disk with the serial do one request a second, or as many as
// it can again.
func (m *Machine) StallDisk(serial string, stall bool) error {
	i := slices.IndexFunc(m.disks, func(d disk) bool { return d.serial == serial })
	if i < 0 {
		return fmt.Errorf("stall a disk of %s: it has none called %s", m.Name, serial)
	}

	limit := 0
	if stall {
		limit = 1
	}

	// From QEMU's block-core.json: all of them have to be there, 0 is no limit.
	return m.qmp("block_set_io_throttle", map[string]any{
		"device": fmt.Sprintf("disk%d", i), "iops": limit, "iops_rd": 0, "iops_wr": 0, "bps": 0, "bps_rd": 0, "bps_wr": 0,
	})
}

// BreakDisk has the disk with the serial answer all requests of the kind, "read" or
// "write", with an I/O error, until the machine is started again.
func (m *Machine) BreakDisk(serial, requests string) error {
	if !slices.ContainsFunc(m.disks, func(d disk) bool { return d.serial == serial }) {
		return fmt.Errorf("break a disk of %s: it has none called %s", m.Name, serial)
	}

	// From QEMU's block-core.json: a node that fails is put between the disk's format and
	// its file.
	err := m.qmp("blockdev-add", map[string]any{
		"driver": "blkdebug", "node-name": serial + "-broken", "image": fileNode(serial),
		"inject-error": []map[string]any{{"event": requests + "_aio", "iotype": requests, "errno": int(unix.EIO)}},
	})
	if err != nil {
		return err
	}

	return m.qmp("blockdev-reopen", map[string]any{"options": []map[string]any{{
		"driver": "raw", "node-name": formatNode(serial), "file": serial + "-broken", "cache": map[string]any{"no-flush": true},
	}}})
}

// LieAboutFlushes has the disk with the serial forget with the next power cut all that it
// is told to write from now on: it goes to a file that the machine isn't started with.
func (m *Machine) LieAboutFlushes(serial string) error {
	lost := filepath.Join(m.Dir, serial+".lost")

	err := os.RemoveAll(lost)
	if err != nil {
		return err
	}

	return m.qmp("blockdev-snapshot-sync", map[string]any{
		"node-name": formatNode(serial), "snapshot-file": lost, "snapshot-node-name": serial + "-lost", "format": "qcow2",
	})
}

// formatNode and fileNode are what QEMU calls the two layers of a disk.
func formatNode(serial string) string { return serial + "-disk" }
func fileNode(serial string) string   { return serial + "-file" }

// answer skips the events that come between a command and its answer.
func answer(decoder *json.Decoder) error {
	for {
		var message struct {
			Return *json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}

		if err := decoder.Decode(&message); err != nil {
			return err
		}

		if message.Error != nil {
			return fmt.Errorf("refused: %s", message.Error.Desc)
		}

		if message.Return != nil {
			return nil
		}
	}
}
