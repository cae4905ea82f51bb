package address

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Kernel is the Network of the machine it runs on.
type Kernel struct {
	// Nodes are the cluster's own: they learn by themselves when the address has
	// moved, see Remove.
	Nodes []netip.Addr
}

// Here reports whether this machine has any of the addresses.
func Here(floating []netip.Prefix) bool {
	here, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}

	return slices.ContainsFunc(here, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())

		return err == nil && slices.ContainsFunc(floating, func(f netip.Prefix) bool { return f.Addr() == prefix.Addr() })
	})
}

const (
	// ifaProto is IFA_PROTO (linux/if_addr.h, since Linux 5.18), the origin of
	// an address. Older kernels drop it: there leftovers are not recognised.
	ifaProto = 11
	// origin marks our addresses. The kernel itself uses 1 to 3; the rest is
	// free for all.
	origin = 0xa7
)

// assigned is an address that some interface has.
type assigned struct {
	link   int
	prefix netip.Prefix
	origin byte
}

// Home implements Network.
func (Kernel) Home(addr netip.Addr) (string, error) {
	_, name, err := home(addr)

	return name, err
}

// Add implements Network.
func (Kernel) Add(addr netip.Addr) (string, error) {
	at, name, err := home(addr)
	if err != nil || at.prefix.Addr() == addr {
		return name, err
	}

	return name, addAddress(at.link, name, netip.PrefixFrom(addr, at.prefix.Bits()))
}

// home returns addr as an interface has it, or else an address of the network that
// addr belongs to; and the interface's name.
func home(addr netip.Addr) (assigned, string, error) {
	all, err := assignedAddresses()
	if err != nil {
		return assigned{}, "", err
	}

	links, err := usableLinks()
	if err != nil {
		return assigned{}, "", err
	}

	for _, a := range all {
		if name, ok := links[a.link]; ok && a.prefix.Addr() == addr {
			return a, name, nil
		}
	}

	for _, a := range all {
		if name, ok := links[a.link]; ok && a.origin != origin && a.prefix.Contains(addr) {
			return a, name, nil
		}
	}

	return assigned{}, "", fmt.Errorf("floating address %s is outside every local network of this node (%s): correct cluster.floating, or give the node an address in that network",
		addr, describe(all, links))
}

// Remove implements Network.
func (k Kernel) Remove(addr netip.Addr) error {
	all, err := assignedAddresses()
	if err != nil {
		return err
	}

	for _, a := range all {
		if a.prefix.Addr() != addr {
			continue
		}

		// While the address is still here, so that the RSTs have a source. The
		// cluster's own nodes get none: a client that is told too early tries
		// again at once, in vain, and then only every two seconds.
		abortConnections(addr, k.Nodes)

		if err := request(unix.RTM_DELADDR, 0, a.link, a.prefix); err != nil {
			return fmt.Errorf("remove floating address %s from interface %d: %w", addr, a.link, err)
		}
	}

	return nil
}

// Leftovers implements Network.
func (Kernel) Leftovers() ([]netip.Addr, error) {
	all, err := assignedAddresses()
	if err != nil {
		return nil, err
	}

	var out []netip.Addr

	for _, a := range all {
		if a.origin == origin {
			out = append(out, a.prefix.Addr())
		}
	}

	return out, nil
}

// abortConnections ends the TCP connections on addr, and their peers get RST.
// It is a favour to the peers, so it doesn't fail: without INET_DIAG_DESTROY
// in the kernel they find out when the next holder answers RST. The library
// does it for IPv4 only, which is all that MooseFS speaks.
func abortConnections(addr netip.Addr, but []netip.Addr) {
	if !addr.Is4() {
		return
	}

	sockets, err := netlink.SocketDiagTCP(unix.AF_INET)
	if err != nil {
		return
	}

	for _, s := range sockets {
		if local, ok := netip.AddrFromSlice(s.ID.Source); !ok || local.Unmap() != addr {
			continue
		}

		if peer, ok := netip.AddrFromSlice(s.ID.Destination); ok && slices.Contains(but, peer.Unmap()) {
			continue
		}

		_ = netlink.SocketDestroy(
			&net.TCPAddr{IP: s.ID.Source, Port: int(s.ID.SourcePort)},
			&net.TCPAddr{IP: s.ID.Destination, Port: int(s.ID.DestinationPort)})
	}
}

// usableLinks returns the names of the interfaces that can carry the address.
func usableLinks() (map[int]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}

	out := map[int]string{}

	for _, l := range links {
		attrs := l.Attrs()
		if attrs.Flags&net.FlagUp != 0 && attrs.Flags&net.FlagLoopback == 0 {
			out[attrs.Index] = attrs.Name
		}
	}

	return out, nil
}

// assignedAddresses lists all addresses of all interfaces. It reads the
// kernel's answer itself because the library leaves out IFA_PROTO.
func assignedAddresses() ([]assigned, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETADDR, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))

	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWADDR)
	if err != nil {
		return nil, fmt.Errorf("list network addresses: %w", err)
	}

	var out []assigned

	for _, m := range messages {
		a, ok, err := parseAddress(m)
		if err != nil {
			return nil, fmt.Errorf("list network addresses: %w", err)
		}

		if ok {
			out = append(out, a)
		}
	}

	return out, nil
}

// parseAddress reads one RTM_NEWADDR. It returns false for what isn't an
// address of a network, such as the two ends of a tunnel.
func parseAddress(message []byte) (assigned, bool, error) {
	if len(message) < unix.SizeofIfAddrmsg {
		return assigned{}, false, fmt.Errorf("answer of %d bytes is too short", len(message))
	}

	header := nl.DeserializeIfAddrmsg(message)

	attrs, err := nl.ParseRouteAttrAsMap(message[unix.SizeofIfAddrmsg:])
	if err != nil {
		return assigned{}, false, err
	}

	address, ok := netip.AddrFromSlice(attrs[unix.IFA_ADDRESS].Value)
	if !ok {
		return assigned{}, false, nil
	}

	// IPv4 has both, IPv6 has IFA_LOCAL only where there is a peer.
	if local, ok := netip.AddrFromSlice(attrs[unix.IFA_LOCAL].Value); ok && local != address {
		return assigned{}, false, nil
	}

	a := assigned{link: int(header.Index), prefix: netip.PrefixFrom(address, int(header.Prefixlen))}
	if proto := attrs[ifaProto].Value; len(proto) == 1 {
		a.origin = proto[0]
	}

	return a, a.prefix.IsValid(), nil
}

// addAddress puts prefix on a link.
func addAddress(link int, name string, prefix netip.Prefix) error {
	attrs := []*nl.RtAttr{nl.NewRtAttr(ifaProto, []byte{origin})}

	if prefix.Addr().Is6() {
		attrs = append(attrs,
			nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(unix.IFA_F_NODAD)),
			// Valid for ever, preferred for no time: deprecated.
			nl.NewRtAttr(unix.IFA_CACHEINFO, (&nl.IfaCacheInfo{IfaCacheinfo: unix.IfaCacheinfo{Valid: ^uint32(0)}}).Serialize()))
	}

	err := request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, link, prefix, attrs...)
	if err != nil {
		return fmt.Errorf("add floating address %s to %s: %w", prefix, name, err)
	}

	return nil
}

// request sends one message about an address and waits for the answer.
func request(kind, flags, link int, prefix netip.Prefix, attrs ...*nl.RtAttr) error {
	family := unix.AF_INET
	if prefix.Addr().Is6() {
		family = unix.AF_INET6
	}

	header := nl.NewIfAddrmsg(family)
	header.Prefixlen = uint8(prefix.Bits())
	header.Index = uint32(link)

	req := nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	req.AddData(header)
	req.AddData(nl.NewRtAttr(unix.IFA_LOCAL, prefix.Addr().AsSlice()))
	req.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, prefix.Addr().AsSlice()))

	for _, attr := range attrs {
		req.AddData(attr)
	}

	_, err := req.Execute(unix.NETLINK_ROUTE, 0)

	return err
}

// describe names the networks that the node has, for an error.
func describe(all []assigned, links map[int]string) string {
	var out []string

	for _, a := range all {
		if name, ok := links[a.link]; ok && !a.prefix.Addr().IsLinkLocalUnicast() {
			out = append(out, name+" "+a.prefix.String())
		}
	}

	if len(out) == 0 {
		return "no interface is up with an address"
	}

	return strings.Join(out, ", ")
}
