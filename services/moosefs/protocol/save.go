package protocol

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"
)

// Commands of a supervisor on the metaloggers' port.
const (
	cmdRegister      = 50
	cmdState         = 53
	cmdStoreMetadata = 65
)

const (
	// registerSupervisor is the version of ANTOMA_REGISTER that makes the caller
	// a supervisor, as mfssupervisor does.
	registerSupervisor = 4
	// supervisorTimeout in seconds; the master wants at least 10.
	supervisorTimeout = 10
	// savePoll is how often the master is asked whether it has finished.
	savePoll = 50 * time.Millisecond
)

// Save has the master write all of its metadata to metadata.mfs, and returns
// when what it served when it was asked is in there. The master goes on serving
// meanwhile: a child of it writes. control is the address of its port for
// metaloggers.
func (c Client) Save(ctx context.Context, control string) error {
	before, err := c.Info(ctx)
	if err != nil {
		return err
	}

	var dialer net.Dialer

	conn, err := dialer.DialContext(ctx, "tcp", control)
	if err != nil {
		return fmt.Errorf("ask the master to save: %w", err)
	}
	defer conn.Close()

	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	err = supervise(conn, before.Version)
	if err != nil {
		return fmt.Errorf("ask the master to save: %w", err)
	}

	return c.saved(ctx, before.MetaVersion)
}

// supervise registers as a supervisor of the master's own version, and asks for
// the one thing it is for.
func supervise(conn net.Conn, version Version) error {
	body := []byte{registerSupervisor}
	body = binary.BigEndian.AppendUint32(body, uint32(version))
	body = binary.BigEndian.AppendUint16(body, supervisorTimeout)

	_, err := conn.Write(packet(cmdRegister, body))
	if err != nil {
		return err
	}

	for range maxStray {
		got, _, err := readPacket(conn)
		if err != nil {
			return err
		}

		if got == cmdState {
			_, err = conn.Write(packet(cmdStoreMetadata, nil))

			return err
		}
	}

	return fmt.Errorf("no answer among %d packets", maxStray)
}

// saved waits until metadata.mfs holds at least version.
func (c Client) saved(ctx context.Context, version uint64) error {
	ticker := time.NewTicker(savePoll)
	defer ticker.Stop()

	for {
		info, err := c.Info(ctx)
		if err != nil {
			return err
		}

		if info.LastStoreMetaVersion >= version {
			return nil
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the master to save version %d, it has version %d: %w", version, info.LastStoreMetaVersion, ctx.Err())
		case <-ticker.C:
		}
	}
}
