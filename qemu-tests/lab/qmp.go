package lab

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"time"
)

// qmp sends one command to QEMU's monitor.
func (m *Machine) qmp(command string) error {
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

	for _, name := range []string{"qmp_capabilities", command} {
		if err = encoder.Encode(map[string]string{"execute": name}); err != nil {
			return fmt.Errorf("monitor of %s: %w", m.Name, err)
		}

		if err = answer(decoder); err != nil {
			return fmt.Errorf("monitor of %s: %s: %w", m.Name, name, err)
		}
	}

	return nil
}

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
