// Package authority is the quorum's record of who may serve, and each node's
// part in keeping to it. Everything else in antlerd asks it one question: may
// this node serve, now?
//
// # The record
//
// The record is a Raft state machine (fsm.go): the epoch, its holder, and the
// replicas that have every acknowledged write ("upToDate"). An epoch is a
// fencing number: each change of holder makes a new one, and a command that
// names an old one is rejected. Only a replica in upToDate is ever granted an
// epoch, and only the holder of the current epoch may take its peer out of
// upToDate or put it back.
//
// # Two layers of safety
//
// Writes are protected without any clock. With its peer out of reach DRBD
// freezes I/O until its fence handler has had Authority.Outdate committed: so a
// write is acknowledged only if it is on both replicas, or if the quorum knows
// that the other one lacks it and will not let it serve.
//
// Serving at all (reads, and clients that would wait on a frozen master) is
// protected by a lease (lease.go): the holder counts from the moment it sent the
// last renewal that was answered, the leader from the moment it answered it, and
// the leader waits longer than any lease plus the time in which a node that
// lost its lease stops. Losing the lease ends the master with SIGKILL; a node
// that can't do that in time resets itself.
//
// What clocks can't do: a machine that was paused as a whole (a stopped virtual
// machine) wakes up with a monotonic clock that didn't run, and believes in its
// lease until the first answer of the leader, or at most for one LeaseTTL. It
// may answer reads from memory in that time; it can't have a write
// acknowledged, because of the first layer.
//
// # Amnesia
//
// A voter that lost its store and starts again as if it were new could vote
// twice in one term, and acknowledge entries it no longer has: two such nodes
// are a quorum that remembers nothing. So a store has an incarnation, a random
// number made together with it. Before a node takes part in Raft for the first
// time it asks all other voters (Hello), and each voter that has already taken
// part remembers the incarnations with which it did. A node that is known under
// another incarnation than its own has lost its store: it does not vote, its
// status says so, and a person decides (bootstrap.go).
//
// # When not to use it
//
// It is not a general store: nothing goes in that isn't needed to decide who
// may serve or what may be started. Configuration is not in it.
package authority
