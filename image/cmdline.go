package main

import (
	"antler/image/layout"
	"antler/image/slots"
	"antler/image/verity"
)

// kernelArguments start the kernel, with a console's: the boot loader adds those of
// the board, and "cmdline" beside the kernel has QEMU's for whoever boots it by hand
// (-append).
//
//   - panic=5: a node that cannot go on starts again.
//   - lsm=: no access control is configured on an appliance without users, and
//     those Debian compiles in cost a second at start and a check per call.
//   - gpt: if a power cut tore the partition table while it was written, its copy
//     at the disk's end is read.
//   - init_on_alloc=0: Debian's kernel clears each page when it is allocated, as a
//     precaution, and again before a program gets it. mfsmaster takes several
//     hundred MB of them when it starts, which is while clients wait.
//   - quiet loglevel=4: the console is for errors and for antlerd.
const kernelArguments = "panic=5 gpt quiet loglevel=4 lsm=capability audit=0 init_on_alloc=0 systemd.show_status=0"

// arguments are the kernel's, what init must know of the root, and what whoever upgrades
// to this system must know of it. k3s is the version in it, or "".
func arguments(root verity.Root, k3s string) string {
	all := kernelArguments + " " + root.Argument()
	if k3s != "" {
		all += " " + slots.K3sArgument + k3s
	}

	return all
}

// byHand are those for a kernel that no boot loader starts.
func byHand(root verity.Root, k3s string) string {
	return "console=ttyAMA0 " + arguments(root, k3s) + " " + slots.SlotArgument + layout.SlotA
}
