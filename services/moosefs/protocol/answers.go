package protocol

import (
	"fmt"
	"net/netip"
	"time"
)

// Layouts are from MFSCommunication.h of MooseFS 4.57.5.

// Version of a MooseFS program, as it is numbered in the protocol.
type Version uint32

// String gives the version as people know it: the last number travels doubled
// (odd ones were MooseFS Pro).
func (v Version) String() string {
	if v == 0 {
		return ""
	}

	return fmt.Sprintf("%d.%d.%d", v>>16, v>>8&0xff, v&0xff>>1)
}

// Info is what a master says of itself: MATOCL_INFO.
type Info struct {
	Version Version
	// Memory in bytes; spaces in bytes over all chunkservers.
	Memory                              uint64
	TotalSpace, AvailSpace, FreeSpace   uint64
	TrashSpace, SustainedSpace          uint64
	TrashFiles, SustainedFiles          uint32
	Objects, Directories, Files, Chunks uint32
	// LastStore is when the metadata was last stored as a whole (the zero time
	// if it was not since the start), and how that went: see LASTSTORE_* .
	LastStore       time.Time
	LastStoreStatus uint8
	// MetaVersion grows by one with each change of the metadata, MetadataID is
	// drawn when a metadata file system begins. Together they say which of two
	// copies is newer, or that they have nothing to do with each other.
	MetaVersion, MetadataID uint64
	// ExportsChecksum must be the same on all masters, or sessions are lost.
	ExportsChecksum uint64
	// LastStoreMetaVersion is the version in the last metadata.mfs.
	LastStoreMetaVersion uint64
	// Now is the master's clock.
	Now time.Time
}

// infoSize since 4.26.0; a later one may be longer.
const infoSize = 205

func parseInfo(body []byte) (Info, error) {
	if len(body) < infoSize {
		return Info{}, fmt.Errorf("master's info has %d bytes, want %d: MooseFS 4.26 or newer is needed", len(body), infoSize)
	}

	d := decoder{rest: body}

	var i Info

	i.Version, i.Memory = Version(d.u32()), d.u64()
	d.take(8 + 8) // CPU times
	i.TotalSpace, i.AvailSpace, i.FreeSpace = d.u64(), d.u64(), d.u64()
	i.TrashSpace, i.TrashFiles = d.u64(), d.u32()
	i.SustainedSpace, i.SustainedFiles = d.u64(), d.u32()
	i.Objects, i.Directories, i.Files, i.Chunks = d.u32(), d.u32(), d.u32(), d.u32()
	d.take(4 + 4 + 4) // chunks as copies, EC8, EC4

	if stored := d.u32(); stored != 0 {
		i.LastStore = time.Unix(int64(stored), 0)
	}

	d.take(4) // duration
	i.LastStoreStatus = d.u8()
	d.take(4 + 4 + 4) // state, leader: MooseFS Pro
	i.MetaVersion, i.ExportsChecksum, i.MetadataID = d.u64(), d.u64(), d.u64()
	i.LastStoreMetaVersion = d.u64()
	d.take(4 + 4*8) // checksum, copies
	i.Now = time.UnixMicro(int64(d.u64()))

	return i, d.err
}

// Chunkserver is a chunkserver as the master sees it: MATOCL_CSERV_LIST.
type Chunkserver struct {
	Address netip.AddrPort
	ID      uint16
	Version Version
	// Connected to the master now. Maintenance: its chunks are not replicated
	// elsewhere while it is away (for half an hour after a clean stop, too).
	Connected, Maintenance bool
	Used, Total            uint64
	Chunks                 uint32
	// Errors of its disks since they were last cleared.
	Errors uint32
}

// csFlag are MATOCL_CSERV_LIST.flags.
const (
	csFlagDisconnected   = 1
	csFlagMaintenance    = 2
	csFlagTmpMaintenance = 4
)

func parseChunkservers(body []byte) ([]Chunkserver, error) {
	d := decoder{rest: body}

	var all []Chunkserver

	for len(d.rest) > 0 {
		var c Chunkserver

		flags := d.u8()
		c.Connected = flags&csFlagDisconnected == 0
		c.Maintenance = flags&(csFlagMaintenance|csFlagTmpMaintenance) != 0
		c.Version = Version(uint32(d.u8())<<16 | uint32(d.u16()))
		d.take(4) // the address before translation between networks
		c.Address = netip.AddrPortFrom(d.addr(), d.u16())
		c.ID = d.u16()
		c.Used, c.Total, c.Chunks = d.u64(), d.u64(), d.u32()
		d.take(8 + 8 + 4) // space and chunks that are marked for removal
		c.Errors = d.u32()
		d.take(4 + 4 + 4 + 1 + 4) // load, grace time, labels, removal, maintenance

		if d.err != nil {
			return nil, fmt.Errorf("read the list of chunkservers: %w", d.err)
		}

		all = append(all, c)
	}

	return all, nil
}

// Session is a client's session: MATOCL_SESSION_LIST, mode 255.
type Session struct {
	ID      uint32
	Address netip.Addr
	// Connected now; a session that is not waits for its client.
	Connected bool
	// Path where the client has it mounted.
	Path string
}

// sessionConnected stands for the time until a session expires.
const sessionConnected = 0xffffffff

func parseSessions(body []byte) ([]Session, error) {
	d := decoder{rest: body}

	var all []Session

	for len(d.rest) > 0 {
		s := Session{ID: d.u32(), Address: d.addr(), Connected: d.u32() == sessionConnected, Path: d.text()}
		if d.err != nil {
			return nil, fmt.Errorf("read the list of sessions: %w", d.err)
		}

		all = append(all, s)
	}

	return all, nil
}

// Metalogger is a metalogger that is connected: MATOCL_MLOG_LIST.
type Metalogger struct {
	Address netip.Addr
	Version Version
}

func parseMetaloggers(body []byte) ([]Metalogger, error) {
	d := decoder{rest: body}

	var all []Metalogger

	for len(d.rest) > 0 {
		m := Metalogger{Version: Version(d.u32()), Address: d.addr()}
		if d.err != nil {
			return nil, fmt.Errorf("read the list of metaloggers: %w", d.err)
		}

		all = append(all, m)
	}

	return all, nil
}

// Health counts chunks by how many good copies they have: MATOCL_CHUNKS_MATRIX.
type Health struct {
	Chunks uint64
	// Missing have no copy, Endangered one of several, Undergoal more than one
	// but not all. Only chunks that are wanted count.
	Missing, Endangered, Undergoal uint64
	// Settled is false while chunkservers come or go: the numbers move then.
	Settled bool
}

// matrixSide: wanted copies by good ones, 10 standing for "10 or more".
const matrixSide = 11

func parseHealth(body []byte) (Health, error) {
	d := decoder{rest: body}
	h := Health{Settled: d.u8() == 0}

	// The first matrix is that of all chunks in all formats.
	for wanted := range matrixSide {
		for good := range matrixSide {
			count := uint64(d.u32())
			h.Chunks += count

			switch {
			case wanted == 0 || good >= wanted:
			case good == 0:
				h.Missing += count
			case good == 1:
				h.Endangered += count
			default:
				h.Undergoal += count
			}
		}
	}

	if d.err != nil {
		return Health{}, fmt.Errorf("read the chunk matrix: %w", d.err)
	}

	return h, nil
}
