// Package server is the gRPC API of antlerd: on TCP with mTLS, on a unix socket
// for root, and on vsock with mTLS. It only reads resources, and hands what a
// person asks for to the service that looks after it.
//
// Who may call what is one table (methods.go). The caller's role is in the
// certificate's Organization; root on the unix socket is an administrator. A
// method that belongs to the node that serves is passed on to it with this
// node's certificate and the original caller's role, so a person may ask any
// node.
//
// What happened is in the event log (events.go): every service emits into it,
// each line also goes to the journal and the console as `antler-event: {...}`,
// and WatchEvents replays it.
package server
