package protocol

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sessionWithRoot is one session as sessions_data_session of MooseFS 4.57.5
// writes it for mode 2, field by field.
func sessionWithRoot(id uint32, sockets byte, path, root string) []byte {
	var b bytes.Buffer

	for _, field := range []any{
		id, [4]byte{10, 77, 0, 1}, uint32(4<<24 | 57<<16 | 10), uint32(3), sockets, uint32(0xffffffff),
		uint32(len(path)), []byte(path), uint32(len(root)), []byte(root),
		byte(1), [4]uint32{}, [2]byte{}, [2]uint32{}, [2 * 28]uint32{7},
	} {
		_ = binary.Write(&b, binary.BigEndian, field)
	}

	return b.Bytes()
}

func TestSessionRoots(t *testing.T) {
	body := append([]byte{0, 28}, sessionWithRoot(1, 1, "/var/lib/antler/mnt", "/")...)
	body = append(body, sessionWithRoot(2, 0, "/m\x00", "/volumes/db/data")...)

	roots, err := Client{Address: master(t, packet(cmdSessionList+1, body))}.SessionRoots(t.Context())
	require.NoError(t, err)

	from := netip.MustParseAddr("10.77.0.1")
	assert.Equal(t, []SessionRoot{
		{Session{ID: 1, Address: from, Connected: true, Path: "/var/lib/antler/mnt"}, "/"},
		{Session{ID: 2, Address: from, Path: "/m"}, "/volumes/db/data"},
	}, roots)

	for cut := range len(body) {
		_, err := parseSessionRoots(body[:cut])
		if cut == 2 || cut == 2+len(sessionWithRoot(1, 1, "/var/lib/antler/mnt", "/")) {
			require.NoError(t, err, cut)
		} else {
			require.Error(t, err, cut)
		}
	}
}

func FuzzSessionRoots(f *testing.F) {
	f.Add(append([]byte{0, 28}, sessionWithRoot(2, 0, "/m", "/volumes/db/data")...))
	f.Add([]byte{})

	f.Fuzz(func(t *testing.T, body []byte) {
		roots, err := parseSessionRoots(body)
		if err == nil {
			assert.LessOrEqual(t, len(roots)*56, len(body))
		}
	})
}
