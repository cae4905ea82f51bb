// Package controlplane pins the programs of Kubernetes that tests start: etcd,
// kube-apiserver, kube-controller-manager and kube-scheduler on the machine that
// tests, and kubelet in virtual ones; Kubernetes's own tests of a storage driver; and the
// definitions of VolumeSnapshots, which are files of external-snapshotter's module. It is a
// module of its own, because Kubernetes asks for other versions of what both depend on.
package controlplane
