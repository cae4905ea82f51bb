package main

// kernelArguments start the kernel; they are written beside it as "cmdline"
// for whoever boots it by hand (QEMU -append).
//
//   - panic=5: a node that cannot go on starts again.
//   - lsm=: no access control is configured on an appliance without users, and
//     those Debian compiles in cost a second at start and a check per call.
//   - gpt: if a power cut tore the partition table while it was written, its copy
//     at the disk's end is read.
//   - quiet loglevel=4: the console is for errors and for antlerd.
const kernelArguments = "console=ttyAMA0 panic=5 gpt quiet loglevel=4 lsm=capability audit=0 systemd.show_status=0"

// arguments are the kernel's, and what init must know of the root.
func arguments(root verity) string { return kernelArguments + " " + root.argument() }
