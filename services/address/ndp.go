package address

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Offsets in an Ethernet frame that carries a neighbour advertisement without
// extension headers (RFC 8200, RFC 4861).
const (
	ip6NextHeader  = etherHeader + 6
	icmp6Type      = etherHeader + 40
	ndpTarget      = etherHeader + 48
	ndpFrameSize   = ndpTarget + 16
	advertisement  = 136
	etherSenderOff = 6
)

// ndpSegment announces an IPv6 address.
type ndpSegment struct {
	*hearing
	conn *ndp.Conn
	ifi  *net.Interface
	addr netip.Addr
}

func joinNDP(ifi *net.Interface, addr netip.Addr, claimed func(net.HardwareAddr)) (*ndpSegment, error) {
	h, err := hear(ifi, unix.ETH_P_IPV6, advertisementsOf(addr), ndpClaim, claimed)
	if err != nil {
		return nil, err
	}

	// From the address itself: it is here and in use, which a link-local one
	// need not be yet.
	conn, _, err := ndp.Listen(ifi, ndp.Addr(addr.String()))
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}

	s := &ndpSegment{hearing: h, conn: conn, ifi: ifi, addr: addr}
	// The kernel answers solicitations; this socket only sends.
	var none ipv6.ICMPFilter
	none.SetAll(true)

	if err := conn.SetICMPFilter(&none); err != nil {
		return nil, errors.Join(err, s.Close())
	}

	return s, nil
}

// advertisementsOf passes neighbour advertisements for addr.
func advertisementsOf(addr netip.Addr) []bpf.Instruction {
	target := addr.As16()

	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: ip6NextHeader, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMPV6, SkipFalse: 11},
		bpf.LoadAbsolute{Off: icmp6Type, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: advertisement, SkipFalse: 9},
	}

	for word := range 4 {
		program = append(program,
			bpf.LoadAbsolute{Off: uint32(ndpTarget + 4*word), Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(target[4*word:]), SkipFalse: uint8(7 - 2*word)})
	}

	return append(program, bpf.RetConstant{Val: 256}, bpf.RetConstant{Val: 0})
}

// ndpClaim returns the sender of a neighbour advertisement. Its Ethernet source
// is enough: a proxy that answers for another is a conflict as well.
func ndpClaim(frame []byte) (net.HardwareAddr, bool) {
	if len(frame) < ndpFrameSize {
		return nil, false
	}

	return frame[etherSenderOff : etherSenderOff+6], true
}

// Announce implements Segment: an unsolicited advertisement with the override
// flag to all nodes (RFC 4861, section 7.2.6), then a solicitation that only
// another holder answers.
func (s *ndpSegment) Announce() error {
	here := &ndp.NeighborAdvertisement{
		Override:      true,
		TargetAddress: s.addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: s.ifi.HardwareAddr}},
	}
	anybody := &ndp.NeighborSolicitation{
		TargetAddress: s.addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: s.ifi.HardwareAddr}},
	}

	group, err := ndp.SolicitedNodeMulticast(s.addr)
	if err != nil {
		return err
	}

	return errors.Join(
		s.conn.WriteTo(here, nil, netip.IPv6LinkLocalAllNodes()),
		s.conn.WriteTo(anybody, nil, group),
	)
}

// Close implements Segment.
func (s *ndpSegment) Close() error { return errors.Join(s.conn.Close(), s.hearing.Close()) }
