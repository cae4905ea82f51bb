// Package controlplane pins the programs of a Kubernetes control plane that
// tests start: etcd, kube-apiserver and kube-controller-manager. It is a module
// of its own, because Kubernetes asks for other versions of what both depend on.
package controlplane
