package moosefs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"antler/services/node/config"
)

// HostSockets ends connections through the kernel's sock_diag interface
// (SOCK_DESTROY, CONFIG_INET_DIAG_DESTROY; module tcp_diag).
type HostSockets struct{}

// endedStates are those in which a connection still counts on its other end
// (enum in net/tcp_states.h): ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT,
// LAST_ACK, CLOSING. Not SYN_SENT.
var endedStates = []uint8{1, 4, 5, 8, 9, 11}

// Destroy implements Sockets.
func (HostSockets) Destroy(remote netip.Addr, ports []uint16, since time.Time) (int, error) {
	return destroy(remote, since, func(_, destination uint16) bool { return slices.Contains(ports, destination) })
}

// Part implements Sockets.
func (HostSockets) Part(remote netip.Addr, ports []uint16, since time.Time) (int, error) {
	return destroy(remote, since, func(source, destination uint16) bool {
		return slices.Contains(ports, source) || slices.Contains(ports, destination)
	})
}

// destroy the connections to remote that were silent, with ports that are meant.
func destroy(remote netip.Addr, since time.Time, meant func(source, destination uint16) bool) (int, error) {
	all, err := netlink.SocketDiagTCPInfo(unix.AF_INET)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return 0, fmt.Errorf("list TCP connections: %w", err)
	}

	// After the kernel told, so that what errs, errs towards leaving one alone.
	silence := time.Since(since)
	count := 0

	var failed error

	for _, found := range all {
		if !stale(found, remote, silence) {
			continue
		}

		id := found.InetDiagMsg.ID
		if !meant(id.SourcePort, id.DestinationPort) {
			continue
		}

		err = netlink.SocketDestroy(
			&net.TCPAddr{IP: id.Source, Port: int(id.SourcePort)},
			&net.TCPAddr{IP: id.Destination, Port: int(id.DestinationPort)})
		if errors.Is(err, unix.ENOENT) {
			continue
		}

		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("end connection %s:%d to %s:%d: %w",
				id.Source, id.SourcePort, id.Destination, id.DestinationPort, err))

			continue
		}

		count++
	}

	return count, failed
}

func stale(found *netlink.InetDiagTCPInfoResp, remote netip.Addr, silence time.Duration) bool {
	if found.InetDiagMsg == nil || found.TCPInfo == nil {
		return false
	}

	id := found.InetDiagMsg.ID

	to, valid := netip.AddrFromSlice(id.Destination)
	if !valid || to.Unmap() != remote {
		return false
	}

	if !slices.Contains(endedStates, found.InetDiagMsg.State) {
		return false
	}

	// Data that comes with no new acknowledgement counts apart.
	heard := min(found.TCPInfo.Last_ack_recv, found.TCPInfo.Last_data_recv)

	return time.Duration(heard)*time.Millisecond >= silence
}

// HostMachines asks machines at the port of Antler's API.
type HostMachines struct{}

// answerTime is how long a machine gets: TCP sends its SYN again after a second.
const answerTime = 1200 * time.Millisecond

// Gone implements Machines. What this machine itself has to say against the call, such
// as that it has no network, says nothing of the other; that nobody has the address on
// the wire (EHOSTUNREACH) does.
func (HostMachines) Gone(ctx context.Context, ip netip.Addr) bool {
	dialer := net.Dialer{Timeout: answerTime}

	conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(ip, config.APIPort).String())
	if err == nil {
		_ = conn.Close()

		return false
	}

	var failure net.Error

	return ctx.Err() == nil && (errors.As(err, &failure) && failure.Timeout() || errors.Is(err, unix.EHOSTUNREACH))
}

// HostNeighbours watches the kernel's neighbour table.
type HostNeighbours struct{}

// Watch implements Neighbours.
func (HostNeighbours) Watch(ctx context.Context, ip netip.Addr) (<-chan string, error) {
	updates := make(chan netlink.NeighUpdate, 16)

	err := netlink.NeighSubscribeWithOptions(updates, ctx.Done(), netlink.NeighSubscribeOptions{ListExisting: true})
	if err != nil {
		return nil, fmt.Errorf("watch the neighbours: %w", err)
	}

	machines := make(chan string)

	go func() {
		defer close(machines)

		for update := range updates {
			machine := machineOf(ip, update)
			if machine == "" {
				continue
			}

			select {
			case machines <- machine:
			case <-ctx.Done():
			}
		}
	}()

	return machines, nil
}

// machineOf is the link-layer address that an update tells for ip; "" if it tells none.
// Entries that come, go or fail tell nothing new about where it is.
func machineOf(ip netip.Addr, update netlink.NeighUpdate) string {
	of, valid := netip.AddrFromSlice(update.IP)
	if !valid || of.Unmap() != ip || update.Type != unix.RTM_NEWNEIGH {
		return ""
	}

	if update.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE|netlink.NUD_NOARP) != 0 {
		return ""
	}

	return update.HardwareAddr.String()
}

// Forget implements Neighbours.
func (HostNeighbours) Forget(ip netip.Addr) error {
	all, err := netlink.NeighList(0, unix.AF_INET)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list the neighbours: %w", err)
	}

	for _, found := range all {
		of, valid := netip.AddrFromSlice(found.IP)
		if !valid || of.Unmap() != ip {
			continue
		}

		err = netlink.NeighDel(&found)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("forget who had %s: %w", ip, err)
		}
	}

	return nil
}
