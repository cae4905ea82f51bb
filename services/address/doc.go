// Package address looks after the floating address: the one under which
// clients, chunkservers and metaloggers reach whichever master serves.
//
// SpecController decides whether this node should hold it, AddressController
// makes it so. The address comes last when a node takes over, after the master
// has answered its own protocol, and goes first when the node gives up: nobody
// is led to a master that can't answer or may not.
//
// # Holding
//
// An address is taken when this node holds the epoch's lease and the master of
// that epoch answers. It is given up at once when the lease is lost, the epoch
// changes, or the master stops or fails. In between it stays: a probe that is
// missed, or a master that is restarted in place for a second, does not move
// it. With the address here and no listener the kernel answers clients with
// RST and they try again two seconds later; with the address gone they would
// wait for their time-outs.
//
// # Where it is put
//
// On the interface whose network contains it, with that network's prefix
// length, not the configured one: only then does Linux make it a secondary
// address. That matters to clients on the serving node itself. What they send
// to a secondary address leaves from the node's own address; MooseFS binds a
// session to the client's address, so it must be the same when the master has
// moved away. An IPv6 address is added without duplicate address detection,
// which would cost a second, and as deprecated, so that it is never chosen as
// the source of the node's own connections.
//
// # Telling the neighbours
//
// Neighbours have the old holder's hardware address in their caches. They are
// told by gratuitous ARP, in the form of a request and of a reply because
// implementations differ in which one they heed, and by unsolicited neighbour
// advertisements with the override flag. One frame may be lost, so it is
// repeated; and as a node that was frozen may wake up and answer for an address
// it doesn't hold any more, it is repeated for as long as the address is held.
//
// Duplicate detection costs no time on the way: the address is added first, and
// whoever else claims it is heard afterwards. It is reported, and answered with
// an announcement: the lease says that the address is ours.
//
// # Giving it up
//
// TCP connections on the address are aborted before it is removed, so that
// their peers get RST rather than silence. An address left by an antlerd that
// was killed is recognised by its origin (IFA_PROTO, see `ip address show`:
// "proto 0xa7") and removed unless this node is found to hold it still.
// A stop of antlerd itself leaves the address alone: it is restarted on purpose
// while the master goes on.
package address
