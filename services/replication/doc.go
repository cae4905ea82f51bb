// Package replication looks after the block device that holds the metadata: a
// DRBD resource called "meta", minor 0, with internal metadata, on one device of
// each metadata node. It knows nothing of what is on it.
//
// DRBD, the 8.4 of the mainline kernel or 9 (see Parts), is driven through drbdadm
// and drbdsetup, and watched through `drbdsetup events2`. Its protocol C
// acknowledges a write when both replicas have it. With `fencing resource-and-stonith` it freezes I/O when
// the peer is lost and runs the handler that the module parameter
// usermode_helper names (package handler), which asks antlerd (HandlerServer), which
// asks the quorum. Only when the quorum has
// recorded that the peer is outdated does I/O go on. No quorum, no write.
//
// # What may never happen
//
//   - A device that is neither blank nor ours is never written to (inspect.go).
//   - Nothing is created without the quorum's recorded consent. What was created
//     is remembered in a marker on this node before the first byte is written,
//     so that a crash in the middle is no mystery afterwards (create.go).
//   - The replicas are declared equal without a resync only while both are
//     zeroed and nothing was ever served, and they part once after that, so that
//     neither believes an old word of the other.
//   - No epoch begins while a peer that the quorum trusts is connected and not
//     written to.
//   - A split brain is never resolved without a person's word, which the quorum
//     has recorded: DRBD stays StandAlone, and the status says so. With it the
//     side that is given up is saved first.
//   - Nothing is taken down while the kernel waits for its handler: it would die of the
//     answer (helper_thread.go).
//   - A primary that has lost its disk, or let go of it, has nobody outdated: it is the
//     peer that shall serve.
//   - Nobody is parted from to have what a comparison found copied from a replica that
//     may be the one at fault (compare.go).
//   - A primary that runs is never taken down because antlerd restarts.
//   - The handler never answers with an exit code by which DRBD would let writes
//     go on without the quorum's word. 5 ("unreachable") and 7 ("fenced") are such
//     codes; a refusal is 1.
//
// # Parts
//
// SpecController decides what the replica should be (ReplicaSpec),
// ReplicaController brings that about and reports (ReplicaStatus). The latter is
// a loop around a pure function, next (plan.go): from what is wanted and what
// the kernel says it chooses one step, which runs beside the loop, because
// promoting may wait for the quorum while the kernel goes on telling.
//
// DRBD 9 has another syntax of configuration, other commands, and a quorum option
// that freezes I/O without a handler: nine.go.
package replication
