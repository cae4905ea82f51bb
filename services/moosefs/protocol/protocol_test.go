package protocol

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The files in testdata are whole answers (header and body) of mfsmaster
// 4.57.5 with two chunkservers and a metalogger: "fresh" before anything was
// stored, "degraded" with one file in two copies, one session, and the second
// chunkserver stopped.
func recorded(t testing.TB, name string) []byte {
	t.Helper()

	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)

	return text
}

// master answers each connection's one question with a recorded packet.
func master(t *testing.T, answer []byte) string {
	t.Helper()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })

	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}

			_, _, err = readPacket(conn)
			if err == nil {
				// A NOP first, as a real master may send one at any time.
				conn.Write(packet(cmdNop, nil))
				conn.Write(answer)
			}

			conn.Close()
		}
	}()

	return listener.Addr().String()
}

func TestProbe(t *testing.T) {
	info, err := Probe(t.Context(), master(t, recorded(t, "info-degraded.bin")))
	require.NoError(t, err)

	assert.Equal(t, "4.57.5", info.Version.String())
	assert.Equal(t, uint64(13), info.MetaVersion)
	assert.Equal(t, uint64(0xB0E3BF80CB04700D), info.ExportsChecksum)
	assert.Equal(t, uint64(0x6B00CC139B25CBEC), info.MetadataID)
	assert.Equal(t, uint64(12638248960), info.TotalSpace)
	assert.Equal(t, uint64(12637077504), info.AvailSpace)
	assert.Equal(t, uint64(154660864), info.Memory)
	assert.Equal(t, []uint32{2, 1, 1, 1}, []uint32{info.Objects, info.Directories, info.Files, info.Chunks})
	assert.True(t, info.LastStore.IsZero())
	assert.Equal(t, time.UnixMicro(1795214369433151).Unix(), info.Now.Unix())
}

func TestLists(t *testing.T) {
	ctx := t.Context()

	chunkservers, err := Client{Address: master(t, recorded(t, "chunkservers-degraded.bin"))}.Chunkservers(ctx)
	require.NoError(t, err)
	require.Len(t, chunkservers, 2)

	for _, cs := range chunkservers {
		alive := cs.Address == netip.MustParseAddrPort("10.77.0.1:9422")
		assert.Equal(t, alive, cs.Connected)
		assert.Equal(t, !alive, cs.Maintenance)

		if alive {
			assert.Equal(t, "4.57.5", cs.Version.String())
			assert.Equal(t, uint64(12638248960), cs.Total)
			assert.Equal(t, uint64(1171456), cs.Used)
			assert.Equal(t, uint32(1), cs.Chunks)
			assert.Equal(t, uint16(1), cs.ID)
			assert.Zero(t, cs.Errors)
		}
	}

	sessions, err := Client{Address: master(t, recorded(t, "sessions-degraded.bin"))}.Sessions(ctx)
	require.NoError(t, err)
	assert.Equal(t, []Session{{ID: 1, Address: netip.MustParseAddr("10.77.0.1"), Connected: true, Path: "/mnt/a"}}, sessions)

	sessions, err = Client{Address: master(t, recorded(t, "sessions-fresh.bin"))}.Sessions(ctx)
	require.NoError(t, err)
	assert.Empty(t, sessions)

	metaloggers, err := Client{Address: master(t, recorded(t, "metaloggers-fresh.bin"))}.Metaloggers(ctx)
	require.NoError(t, err)
	require.Len(t, metaloggers, 1)
	assert.Equal(t, "4.57.5", metaloggers[0].Version.String())

	health, err := Client{Address: master(t, recorded(t, "matrix-degraded.bin"))}.Health(ctx)
	require.NoError(t, err)
	assert.Equal(t, uint64(1), health.Chunks)
	assert.Equal(t, uint64(1), health.Endangered)
	assert.Zero(t, health.Missing+health.Undergoal)

	health, err = Client{Address: master(t, recorded(t, "matrix-fresh.bin"))}.Health(ctx)
	require.NoError(t, err)
	assert.Zero(t, health.Chunks)
}

func TestProbeFails(t *testing.T) {
	for name, answer := range map[string][]byte{
		"nothing":       nil,
		"half a header": {0, 0},
		"another":       packet(4711, nil),
		"refused":       packet(cmdUnknown, make([]byte, 12)),
		"short":         packet(cmdInfo+1, make([]byte, 101)),
		"cut off":       recorded(t, "info-fresh.bin")[:100],
		"huge":          {0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Probe(t.Context(), master(t, answer))
			assert.Error(t, err)
		})
	}
}

// A master that runs but is stopped accepts connections and says nothing.
func TestProbeOfDeafMasterEndsInTime(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)

	defer listener.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()

	_, err = Probe(ctx, listener.Addr().String())
	assert.ErrorIs(t, err, context.DeadlineExceeded)

	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)

	_, err = Probe(ctx, listener.Addr().String())
	assert.ErrorIs(t, err, context.Canceled)
}

// patient answers questions of one connection after the other, a number of each.
func patient(t *testing.T, answer []byte, questions int) (address string, connections *atomic.Int32) {
	t.Helper()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })

	connections = &atomic.Int32{}

	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}

			connections.Add(1)

			for range questions {
				if _, _, err = readPacket(conn); err == nil {
					conn.Write(answer)
				}
			}

			conn.Close()
		}
	}()

	return listener.Addr().String(), connections
}

func TestALineKeepsItsConnectionAndTakesAnotherAfterItsEnd(t *testing.T) {
	address, connections := patient(t, recorded(t, "info-fresh.bin"), 3)
	line := Line{Client: Client{Address: address}}

	for range 3 {
		_, err := line.Info(t.Context())
		require.NoError(t, err)
	}

	assert.Equal(t, int32(1), connections.Load())

	_, err := line.Info(t.Context())
	require.NoError(t, err)
	assert.Equal(t, int32(2), connections.Load())
}

func TestAClientThatIsKeptAsksOverOneConnection(t *testing.T) {
	address, connections := patient(t, recorded(t, "info-fresh.bin"), 3)
	kept, hangUp := Client{Address: address}.Kept()

	for range 3 {
		_, err := kept.Info(t.Context())
		require.NoError(t, err)
	}

	assert.Equal(t, int32(1), connections.Load())
	hangUp()
	hangUp() // a second time changes nothing

	_, err := kept.Info(t.Context())
	require.NoError(t, err)
	assert.Equal(t, int32(2), connections.Load())
	hangUp()
}

func TestALineToADeafMasterEndsInTime(t *testing.T) {
	address, _ := patient(t, recorded(t, "info-fresh.bin"), 1)
	line := Line{Client: Client{Address: address}}

	_, err := line.Info(t.Context())
	require.NoError(t, err)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)

	defer listener.Close()

	line.Address = listener.Addr().String()

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()

	_, err = line.Info(ctx)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

func FuzzParsers(f *testing.F) {
	for _, name := range []string{"info", "chunkservers", "sessions", "matrix", "metaloggers"} {
		f.Add(recorded(f, name+"-degraded.bin")[8:])
		f.Add(recorded(f, name+"-fresh.bin")[8:])
	}

	f.Fuzz(func(t *testing.T, body []byte) {
		_, err := parseInfo(body)
		assert.Equal(t, len(body) < infoSize, err != nil)

		chunkservers, err := parseChunkservers(body)
		assert.Equal(t, len(body)%77 == 0, err == nil)
		if err == nil {
			assert.Len(t, chunkservers, len(body)/77)
		}

		sessions, err := parseSessions(body)
		if err == nil {
			assert.LessOrEqual(t, len(sessions)*16, len(body))
		}

		metaloggers, err := parseMetaloggers(body)
		assert.Equal(t, len(body)%8 == 0, err == nil)
		if err == nil {
			assert.Len(t, metaloggers, len(body)/8)
		}

		_, err = parseHealth(body)
		assert.Equal(t, len(body) < 1+4*matrixSide*matrixSide, err != nil)
	})
}

// What is sent to be a supervisor is what mfssupervisor sends; the master's
// answer comes between.
func TestSuperviseAsksToStore(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()

	asked := make(chan error, 1)

	go func() { asked <- supervise(ours, Version(4<<16|57<<8|5)) }()

	command, body, err := readPacket(theirs)
	require.NoError(t, err)
	assert.Equal(t, uint32(cmdRegister), command)
	assert.Equal(t, []byte{4, 0, 4, 57, 5, 0, 10}, body)

	_, err = theirs.Write(append(packet(cmdNop, nil), packet(cmdState, make([]byte, 40))...))
	require.NoError(t, err)

	command, body, err = readPacket(theirs)
	require.NoError(t, err)
	assert.Equal(t, uint32(cmdStoreMetadata), command)
	assert.Empty(t, body)
	require.NoError(t, <-asked)
}

func TestSuperviseEndsWithTheConnection(t *testing.T) {
	ours, theirs := net.Pipe()

	go func() {
		_, _, _ = readPacket(theirs)
		theirs.Close()
	}()

	require.Error(t, supervise(ours, Version(0)))
}
