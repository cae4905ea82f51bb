// Package lab boots clusters of virtual machines from the product's own image,
// breaks them, and checks what clients were told.
//
// A Machine is a QEMU process with its disks, its console and a power switch.
// The machines' network is a Switch in this process, which can cut, delay and
// drop frames per direction. A Cluster is machines with a configuration made
// by the same code as `antlerctl gen config`, and a client of each node's API
// that works however the cluster's network is cut. A Workload runs in a
// machine and tells each call and each answer as it happens; Check holds what
// was acknowledged against what is there afterwards.
//
// Power cut means SIGKILL of QEMU: the guest's memory is gone, what reached
// the disk stays. A hang is QMP's stop.
package lab
