package protocol

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// errShort: the answer ends before what it should hold.
var errShort = errors.New("answer is too short")

// decoder takes numbers off the front of a packet. After the first failure it
// gives zeros and keeps the error: one check at the end is enough.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.rest, d.err = nil, errShort

		return make([]byte, max(0, min(n, 8)))
	}

	taken := d.rest[:n]
	d.rest = d.rest[n:]

	return taken
}

func (d *decoder) u8() uint8   { return d.take(1)[0] }
func (d *decoder) u16() uint16 { return binary.BigEndian.Uint16(d.take(2)) }
func (d *decoder) u32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }

func (d *decoder) addr() netip.Addr { return netip.AddrFrom4([4]byte(d.take(4))) }

// text takes a 32-bit length and as many bytes.
func (d *decoder) text() string {
	length := d.u32()
	if uint64(length) > uint64(len(d.rest)) {
		d.rest, d.err = nil, errShort

		return ""
	}

	return string(d.take(int(length)))
}
