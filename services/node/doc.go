// Package node looks after the machine itself: its identity and network
// configuration (Prepare), the kernel modules and parameters that the other
// services need, and the watchdog that resets a node which can't give up
// serving in time.
//
// The appliance image runs Prepare once at each boot, before the network comes
// up. On Talos the operating system has configured the network already and
// Prepare is never called.
package node
