package address

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// table is ours in nftables.
const table = "antler"

// Offsets in the headers of IPv4 (RFC 791) and TCP (RFC 9293).
const (
	ipSource    = 12
	ipDest      = 16
	tcpSource   = 0
	tcpDest     = 2
	tcpSequence = 4
	tcpFlags    = 13
	tcpReset    = 0x04
	tcpPush     = 0x08
)

// Door is what clients of the floating addresses meet on the master's ports when
// the master is not there. It is a table of nftables.
//
// Open or not, it keeps this machine from answering with a RST while nobody
// listens: for a moment after mfsmaster has ended or before it listens. MooseFS's
// client that is refused sleeps for two seconds; one that hears nothing sends its
// SYN again after one. The RST for a port that nobody listens on is the one with
// sequence number 0; connections that exist are reset as ever.
type Door struct {
	Floating []netip.Addr
	// First to Last are the master's ports, Requests the one that its clients
	// send requests to.
	First, Last, Requests uint16
}

// Open lets requests in.
func (d Door) Open() error { return d.set(nil) }

// Hold lets connections be made, and keeps the requests on them out: TCP sends them
// again, from nodes that are set up for that (tcp_thin_linear_timeouts) each 0.2 s for the
// first seven times (TCP_THIN_LINEAR_RETRIES), and then, as others do from the start, after
// twice as long each time.
func (d Door) Hold() error { return d.set(pushed) }

// Close keeps new requests out while answers still leave: what clients send is
// lost on the way in, so that TCP sends it again, to whoever has the address
// then. None of it is carried out and not answered.
func (d Door) Close() error { return d.set(incoming) }

// set drops what comes in for Requests and is what dropped says, if anything is.
func (d Door) set(dropped func(to netip.Addr, at uint16) []expr.Any) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("hold the door: %w", err)
	}

	ours := &nftables.Table{Name: table, Family: nftables.TableFamilyIPv4}

	// Adding before deleting makes the deletion of what isn't there succeed; all
	// of it is one transaction.
	conn.AddTable(ours)
	conn.DelTable(ours)
	conn.AddTable(ours)

	output := chain(conn, ours, "output", nftables.ChainHookOutput)
	input := chain(conn, ours, "input", nftables.ChainHookInput)

	for _, addr := range d.Floating {
		if !addr.Is4() {
			continue
		}

		conn.AddRule(&nftables.Rule{Table: ours, Chain: output, Exprs: refusal(addr, d.First, d.Last)})

		if dropped != nil {
			conn.AddRule(&nftables.Rule{Table: ours, Chain: input, Exprs: append(dropped(addr, d.Requests), &expr.Verdict{Kind: expr.VerdictDrop})})
		}
	}

	err = conn.Flush()
	if err != nil {
		return fmt.Errorf("hold the door: %w", err)
	}

	return nil
}

func chain(conn *nftables.Conn, in *nftables.Table, name string, hook *nftables.ChainHook) *nftables.Chain {
	accept := nftables.ChainPolicyAccept

	return conn.AddChain(&nftables.Chain{
		Name: name, Table: in, Type: nftables.ChainTypeFilter, Hooknum: hook,
		Priority: nftables.ChainPriorityFilter, Policy: &accept,
	})
}

const register = 1

func field(base expr.PayloadBase, offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

func compare(how expr.CmpOp, value []byte) expr.Any {
	return &expr.Cmp{Op: how, Register: register, Data: value}
}

func port(number uint16) []byte { return binary.BigEndian.AppendUint16(nil, number) }

// tcpOf matches TCP with the address at offset of the IP header.
func tcpOf(addr netip.Addr, offset uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		compare(expr.CmpOpEq, []byte{unix.IPPROTO_TCP}),
		field(expr.PayloadBaseNetworkHeader, offset, 4),
		compare(expr.CmpOpEq, addr.AsSlice()),
	}
}

// refusal drops a RST that answers a SYN.
func refusal(from netip.Addr, first, last uint16) []expr.Any {
	out := append(tcpOf(from, ipSource),
		field(expr.PayloadBaseTransportHeader, tcpSource, 2),
		compare(expr.CmpOpGte, port(first)),
		compare(expr.CmpOpLte, port(last)),
		field(expr.PayloadBaseTransportHeader, tcpSequence, 4),
		compare(expr.CmpOpEq, binaryutil.BigEndian.PutUint32(0)))

	return append(append(out, flagged(tcpReset)...), &expr.Verdict{Kind: expr.VerdictDrop})
}

// flagged matches TCP with the flag set.
func flagged(flag byte) []expr.Any {
	return []expr.Any{
		field(expr.PayloadBaseTransportHeader, tcpFlags, 1),
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 1, Mask: []byte{flag}, Xor: []byte{0}},
		compare(expr.CmpOpNeq, []byte{0}),
	}
}

// incoming matches whatever comes in for the port.
func incoming(to netip.Addr, at uint16) []expr.Any {
	return append(tcpOf(to, ipDest),
		field(expr.PayloadBaseTransportHeader, tcpDest, 2),
		compare(expr.CmpOpEq, port(at)))
}

// pushed matches the end of what was sent to the port: a request.
func pushed(to netip.Addr, at uint16) []expr.Any {
	return append(incoming(to, at), flagged(tcpPush)...)
}
