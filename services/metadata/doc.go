// Package metadata looks after mfsmaster on this node: the file system on the
// replica, recovery, start, health and stop.
//
// SpecController decides from the authority and the replica whether it should
// run. MasterController takes over in order (format once, fsck, mount, look at
// what would be loaded, start with `mfsmaster -a`, ask it something) and gives
// up in reverse. KillController does one thing: when the lease is lost it sends
// SIGKILL, whatever the other one is busy with.
//
// The master is judged by its own protocol. One that runs and doesn't answer is
// killed and started again in place, where that is quicker than moving; after
// MaxRestarts in one epoch this node says that it can't serve. A restart goes the
// way of a takeover from where the directory is prepared, and not before the end of
// the last process is certain: it may have been killed in the middle of a line.
//
// mfsmaster goes on serving when it can't write its changelog any more. So the
// file system is watched as well: read-only, full or failing ends the master
// at once.
package metadata
