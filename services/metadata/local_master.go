package metadata

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"antler/services/moosefs/protocol"
	"antler/services/node/config"
)

// LocalMaster is the Prober of the master on this node, whether or not the floating
// address is here already. It is used by one goroutine.
type LocalMaster struct {
	line line
	now  func() time.Time

	// chunkservers that were connected when last counted, at countedAt: that is
	// a second question, and asked less often once they have had the time to connect.
	chunkservers int
	countedAt    time.Time
	// connected to the master for the time that made counts, at begun.
	made  int
	begun time.Time
	// starts: it did not listen when last asked.
	starts bool
}

// line is a protocol.Line, but in tests.
type line interface {
	Info(ctx context.Context) (protocol.Info, error)
	// Chunkservers asks over a connection of its own: clients make some, too.
	Chunkservers(ctx context.Context) ([]protocol.Chunkserver, error)
	// Connections is how many were made for Info.
	Connections() int
}

// NewLocalMaster returns one that has not asked yet.
func NewLocalMaster() *LocalMaster {
	return &LocalMaster{line: &protocol.Line{Client: localClient()}, now: time.Now}
}

func localClient() protocol.Client {
	return protocol.Client{Address: localPort(config.MasterClientPort)}
}

func localPort(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// countInterval is how old the number of chunkservers may be once settling has passed
// with one master.
const (
	countInterval = 2 * time.Second
	settling      = 15 * time.Second
)

// Probe implements Prober.
func (m *LocalMaster) Probe(ctx context.Context) (Info, error) {
	info, err := m.line.Info(ctx)
	if errors.Is(err, syscall.ECONNREFUSED) {
		m.starts, m.chunkservers = true, 0
	}

	if err != nil {
		return Info{}, err
	}

	now := m.now()
	if made := m.line.Connections(); m.made != made {
		m.made, m.begun = made, now
	}

	// One that answers for the first time has none, and clients wait for the answer.
	if !m.starts {
		err = m.count(ctx, now)
		if err != nil {
			return Info{}, err
		}
	}

	m.starts = false

	return Info{
		Version: info.Version.String(), MetaVersion: info.MetaVersion, MetadataID: info.MetadataID,
		TotalSpace: info.TotalSpace, FreeSpace: info.AvailSpace, Chunks: uint64(info.Chunks),
		Chunkservers: m.chunkservers,
	}, nil
}

// count counts the chunkservers, unless it was done just now. Without an answer the last
// number stays: none is not what was counted.
func (m *LocalMaster) count(ctx context.Context, now time.Time) error {
	if now.Sub(m.countedAt) <= countInterval && now.Sub(m.begun) > settling {
		return nil
	}

	m.countedAt = now

	list, err := m.line.Chunkservers(ctx)
	if err != nil {
		return err
	}

	m.chunkservers = 0

	for _, c := range list {
		// One that is about to say what it has room for gets no chunks yet.
		if c.Connected && c.Total > 0 {
			m.chunkservers++
		}
	}

	return nil
}

// Save implements Prober.
func (*LocalMaster) Save(ctx context.Context) error {
	return localClient().Save(ctx, localPort(config.MasterMetaloggerPort))
}
