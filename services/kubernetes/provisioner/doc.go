// Package provisioner makes Kubernetes's claims into volumes: what the sidecars
// external-provisioner and external-resizer do elsewhere.
//
// # Where it works
//
// On the node whose master serves, in the epoch in which it does, and nowhere
// else. There is no election of Kubernetes's: the quorum has decided already.
// Each request to the API server that changes anything asks once more whether
// the lease is valid, on its way out (fence), and each call of the driver does
// the same.
//
// # What an interruption leaves
//
// Nothing is remembered outside of the API server and MooseFS. A claim's volume
// and persistent volume are named after the claim's UID, and both are made in a
// way that finds what is there already, so whoever continues makes no second
// one. From before the volume is made until its persistent volume is there the
// claim has a finalizer (claimFinalizer): a claim that is deleted in between
// stays until somebody has deleted its volume.
//
// # What it leaves to others
//
// Binding is the controller manager's. So is telling when a persistent volume
// is released. Persistent volumes that this driver has not provisioned are
// never deleted.
package provisioner
