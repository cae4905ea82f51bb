// Package kubernetes gives Kubernetes persistent volumes on this cluster's
// MooseFS: antlerd itself is the CSI driver and registers itself with kubelet.
// There is no sidecar and no pod on the nodes.
//
// # Who does what
//
// Controller is carried out by the node that serves and by nobody else: the API
// server passes its calls on to the holder of the epoch (services/server), and
// each call asks once more whether the lease is valid before anything changes.
// So there is never a second one at work, and no election of Kubernetes's own
// has a part in it. Node and Identity work on every node. All of them are on
// antlerd's own gRPC server; the socket that kubelet knows is one more listener
// of it, for root alone.
//
// # Handles
//
// A volume's handle is NAME:ID, with the UUID that it keeps for life: a volume
// of the same name that was made later is another one. Handles, names and paths
// come from outside. They are parsed whole before anything is done, and what is
// parsed is a single path component of a small alphabet; services/volume opens
// nothing else.
//
// # What a pod sees
//
// A bind of the volume's directory, made from the node-wide mount, which is a
// containerd task and outlives antlerd. Before each bind the node checks that
// the mount is MooseFS, that its session lives, and that the mark in the
// directory is the volume's; a bind is made from the directory that was
// checked and not from its path. A missing mount is an error.
//
// Where the volume's class says so (MountMode), the bind is of a mount of the
// volume's own, which package moosefs makes and checks; the mark is still looked
// at through the node-wide one, since it lies above the data.
//
// Attach is not used. Instead a node records that it uses a volume when it
// stages it and ends that when it unstages it; the record is in the volume's
// mark, so it moves with the master, and a volume for one node only is refused to
// a second one.
package kubernetes
