// Package upgrade puts another system into the slot of the card that is not in
// use, has it started once, and lets it stay if the cluster finds the node healthy.
//
// A power cut at any moment leaves a node that starts, since the order is this, and
// each step is on the card before the next begins:
//
//  1. Nothing is to be tried, and the boot loader starts the slot in use.
//  2. The other slot's entry is removed: there is nothing in it to start, also if
//     the slot in use should be damaged.
//  3. The root is written, read back, and checked against the hash that came with it.
//  4. Kernel and initrd are written, read back and checked.
//  5. The entry is written, with the hash of the root in it: the slot is whole.
//  6. The slot is to be tried once. The boot loader forgets that before it does so
//     (antler/image/slots): from here on every start but the next is the old slot's.
//  7. The new system is the one to start: written by the new system itself, once the
//     cluster finds the node healthy.
//
// Steps 1, 6 and 7 overwrite one sector in place, which a disk does whole or not at
// all. The files of the slot in use are never opened for writing.
package upgrade
