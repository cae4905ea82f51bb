// Package talos runs antlerd on a Talos node.
//
// Talos gives an extension's service a PID namespace of its own and ends it with
// SIGKILL, 10 s after SIGTERM. antlerd can't live in there: it holds the first
// process of each container by a pidfd, to be sure that it can kill it, and doesn't
// see them from another PID namespace. So what Talos runs is a Service that does no
// more than start antlerd itself as a container of the node's containerd, with the
// node's PID namespace, and pass on what it logs. Told to stop it leaves antlerd
// running, unless the whole node goes down.
//
// The container has the root of the extension, in which Talos has mounted a
// writable layer for as long as the service runs. It is in a containerd namespace
// of its own: what antlerd doesn't find wanted in its own, it removes.
//
// There is one antlerd at any time: a Service that was stopped or killed leaves its
// antlerd, and the next one ends it before it starts another. What antlerd supervises
// goes on meanwhile, as on any node.
package talos
