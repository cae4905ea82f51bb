package address

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in an Ethernet frame that carries ARP for IPv4 (RFC 826).
const (
	etherHeader  = 14
	arpSender    = etherHeader + 8
	arpSenderIP  = etherHeader + 14
	arpFrameSize = etherHeader + 28
)

// arpSegment announces an IPv4 address.
type arpSegment struct {
	*hearing
	ifi  *net.Interface
	addr netip.Addr
}

func joinARP(ifi *net.Interface, addr netip.Addr, claimed func(net.HardwareAddr)) (*arpSegment, error) {
	ip := addr.As4()
	// Whatever says "I am addr", request or reply. A probe says 0.0.0.0.
	filter := []bpf.Instruction{
		bpf.LoadAbsolute{Off: arpSenderIP, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(ip[:]), SkipFalse: 1},
		bpf.RetConstant{Val: 256},
		bpf.RetConstant{Val: 0},
	}

	h, err := hear(ifi, unix.ETH_P_ARP, filter, arpClaim, claimed)
	if err != nil {
		return nil, err
	}

	return &arpSegment{hearing: h, ifi: ifi, addr: addr}, nil
}

// arpClaim returns the sender of an ARP frame.
func arpClaim(frame []byte) (net.HardwareAddr, bool) {
	if len(frame) < arpFrameSize {
		return nil, false
	}

	return frame[arpSender:arpSenderIP], true
}

// Announce implements Segment: a gratuitous request and a gratuitous reply
// (RFC 5227, section 3), then a probe that only another holder answers.
func (s *arpSegment) Announce() error {
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	unknown := make(net.HardwareAddr, 6)

	return errors.Join(
		s.sendARP(arp.OperationRequest, s.addr, unknown),
		s.sendARP(arp.OperationReply, s.addr, broadcast),
		s.sendARP(arp.OperationRequest, netip.IPv4Unspecified(), unknown),
	)
}

func (s *arpSegment) sendARP(op arp.Operation, sender netip.Addr, target net.HardwareAddr) error {
	p, err := arp.NewPacket(op, s.ifi.HardwareAddr, sender, target, s.addr)
	if err != nil {
		return err
	}

	payload, err := p.MarshalBinary()
	if err != nil {
		return err
	}

	return s.send(etherFrame(net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, s.ifi.HardwareAddr, unix.ETH_P_ARP, payload))
}

// etherFrame puts an Ethernet header before payload.
func etherFrame(to, from net.HardwareAddr, protocol uint16, payload []byte) []byte {
	frame := make([]byte, 0, etherHeader+len(payload))
	frame = append(append(frame, to...), from...)
	frame = binary.BigEndian.AppendUint16(frame, protocol)

	return append(frame, payload...)
}
