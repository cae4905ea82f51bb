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
	tcpSource   = 0
	tcpSequence = 4
	tcpFlags    = 13
	tcpReset    = 0x04
)

// HideRefusals keeps this machine from answering connections to the floating
// addresses with a RST while nobody listens on the ports from first to last: for
// a moment after mfsmaster has ended or before it listens. MooseFS's client that
// is refused sleeps for two seconds; one that hears nothing sends its SYN again
// after one. The RST for a port that nobody listens on is the one with sequence
// number 0; connections that exist are reset as ever.
func HideRefusals(floating []netip.Addr, first, last uint16) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("hide refused connections: %w", err)
	}

	ours := &nftables.Table{Name: table, Family: nftables.TableFamilyIPv4}

	// Adding before deleting makes the deletion of what isn't there succeed; all
	// of it is one transaction.
	conn.AddTable(ours)
	conn.DelTable(ours)
	conn.AddTable(ours)

	accept := nftables.ChainPolicyAccept
	output := conn.AddChain(&nftables.Chain{
		Name: "output", Table: ours, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput,
		Priority: nftables.ChainPriorityFilter, Policy: &accept,
	})

	for _, addr := range floating {
		if addr.Is4() {
			conn.AddRule(&nftables.Rule{Table: ours, Chain: output, Exprs: refusal(addr, first, last)})
		}
	}

	err = conn.Flush()
	if err != nil {
		return fmt.Errorf("hide refused connections: %w", err)
	}

	return nil
}

// refusal matches what is dropped.
func refusal(from netip.Addr, first, last uint16) []expr.Any {
	const register = 1

	field := func(base expr.PayloadBase, offset, length uint32) expr.Any {
		return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
	}
	compare := func(how expr.CmpOp, value []byte) expr.Any {
		return &expr.Cmp{Op: how, Register: register, Data: value}
	}
	port := func(number uint16) []byte { return binary.BigEndian.AppendUint16(nil, number) }

	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		compare(expr.CmpOpEq, []byte{unix.IPPROTO_TCP}),
		field(expr.PayloadBaseNetworkHeader, ipSource, 4),
		compare(expr.CmpOpEq, from.AsSlice()),
		field(expr.PayloadBaseTransportHeader, tcpSource, 2),
		compare(expr.CmpOpGte, port(first)),
		compare(expr.CmpOpLte, port(last)),
		field(expr.PayloadBaseTransportHeader, tcpSequence, 4),
		compare(expr.CmpOpEq, binaryutil.BigEndian.PutUint32(0)),
		field(expr.PayloadBaseTransportHeader, tcpFlags, 1),
		&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 1, Mask: []byte{tcpReset}, Xor: []byte{0}},
		compare(expr.CmpOpNeq, []byte{0}),
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}
