// Package protocol asks a MooseFS master about itself, over MooseFS's own
// protocol. It knows nothing of antlerd: whoever needs to know whether a master
// serves can use it.
//
// A packet is two 32-bit numbers, command and length, and a body; everything is
// big-endian. The commands used here need no registration and are the ones that
// MooseFS's own status page sends. Answers come from the network: the parsers are
// total, and tested with recorded answers of a real master (testdata) and with
// random bytes.
package protocol
