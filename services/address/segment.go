package address

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
)

// sendTimeout ends an announcement that the link doesn't take.
const sendTimeout = 200 * time.Millisecond

// Join implements Network.
func (Kernel) Join(link string, addr netip.Addr, claimed func(net.HardwareAddr)) (Segment, error) {
	ifi, err := net.InterfaceByName(link)
	if err != nil {
		return nil, err
	}

	if len(ifi.HardwareAddr) != 6 {
		return nil, fmt.Errorf("interface %s is not an Ethernet: neighbours can't be told", link)
	}

	if addr.Is4() {
		return joinARP(ifi, addr, claimed)
	}

	return joinNDP(ifi, addr, claimed)
}

// hearing is a raw socket that sees frames by which somebody claims an address.
type hearing struct {
	conn *packet.Conn
	done chan struct{}
}

// hear opens a raw socket for frames of one protocol that pass the filter, and
// calls claimed with the hardware address of each that isn't from ourselves.
// sender returns who claims, or false if the frame is no claim.
func hear(ifi *net.Interface, protocol int, filter []bpf.Instruction,
	sender func(frame []byte) (net.HardwareAddr, bool), claimed func(net.HardwareAddr),
) (*hearing, error) {
	program, err := bpf.Assemble(filter)
	if err != nil {
		return nil, err
	}

	conn, err := packet.Listen(ifi, packet.Raw, protocol, &packet.Config{Filter: program})
	if err != nil {
		return nil, err
	}

	h := &hearing{conn: conn, done: make(chan struct{})}

	go func() {
		defer close(h.done)

		frame := make([]byte, 256)

		for {
			n, _, err := conn.ReadFrom(frame)
			if err != nil {
				// Closed, or the interface is gone: then the next check finds the
				// address gone as well and joins anew.
				return
			}

			if from, ok := sender(frame[:n]); ok && !slices.Equal(from, ifi.HardwareAddr) {
				claimed(from)
			}
		}
	}()

	return h, nil
}

// send puts one frame on the wire.
func (h *hearing) send(frame []byte) error {
	if err := h.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}

	_, err := h.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]})

	return err
}

// Close ends listening; claimed isn't called afterwards.
func (h *hearing) Close() error {
	err := h.conn.Close()
	<-h.done

	return err
}
