// Package slots is how a node chooses which of its two systems to start, and
// what the two sides of that choice agree on: the boot loader (boot.cmd, a script
// for U-Boot) and antlerd, which writes the slot that is not in use.
//
// On the boot partition are
//
//	slots.env        which slot to start, and which one to try once: one sector
//	boot.scr         the script that chooses
//	a/, b/           for each slot: vmlinuz, initrd.img and entry.env, the kernel's
//	                 arguments, among them the hash of the slot's root
//
// All that decides is in slots.env, which has one sector and is overwritten in
// place: a power cut leaves it as it was or as it becomes. The boot loader forgets
// a slot that is to be tried before it starts it, so that whatever becomes of it
// (it doesn't start, it panics, it hangs until somebody pulls the plug) the next
// start is that of the slot known to be good. Only a system that the cluster finds
// healthy makes itself the one to start (services/node/upgrade).
//
// The Raspberry Pi's own way, "tryboot", can't be asked for by Debian's kernel: the
// driver of its firmware has no call for it (docs/design). So a
// Raspberry Pi and QEMU's virt both go through U-Boot, and through the same script.
package slots
