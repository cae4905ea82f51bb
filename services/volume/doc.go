// Package volume looks after persistent volumes: named directories of MooseFS,
// each with an identity, a hard quota, a storage class and a trash time.
//
// # Layout
//
// In the tree of MooseFS:
//
//	/volumes                    mode 0700, marked with the cluster's id
//	/volumes/NAME               one volume, marked with its record
//	/volumes/NAME/data          what is mounted; has quota, class and trash time
//	/volumes/.creating-NAME     a volume that is being made
//	/volumes/.archive/NAME@...  a deleted volume that can come back
//	/volumes/.purge             what is being removed for good
//	/volumes/.snapshots/NAME    a snapshot of a volume, marked with its record
//
// The marks are extended attributes, not files. MooseFS keeps them with the
// directory in the master's metadata: they change atomically, an acknowledged
// change is as durable as any other, they need no chunkserver (so volumes can
// be listed and made while all of them are down), and they survive the loss of
// every chunk. Whoever mounts a volume sees only data and can't alter the mark
// above it. To look at one: getfattr -n user.antler.volume DIRECTORY.
//
// # Idempotence
//
// A volume is made under a temporary name and renamed when it is complete, so a
// name is either a whole volume or none. Creating it again with the same
// specification finds it; with another, it says what differs. Deleting is one
// rename too; when it may come back and until when is in the new name, so there
// is no moment in which the two disagree. A directory from elsewhere in MooseFS is
// made a volume by one rename as well, of the directory into a volume without data.
//
// # What may never happen
//
// Nothing is written below a directory that isn't this cluster's MooseFS. Each
// call opens the mount point anew and checks on the opened directory, not on
// its path, that it is the root of a MooseFS mount and that its volumes bear
// this cluster's mark. A missing mount is ErrUnavailable, never a silent write
// to the local disk.
//
// No path leaves the tree. Names are single components of a small alphabet, and
// every step down is one openat2(2) that refuses symbolic links, "..", absolute
// paths and mount points, whatever somebody has put there.
//
// Nothing is unlinked before its time in the archive is over, nothing above or
// through a mount or a link, and the system clock alone can't end that time: a
// board without a battery may wake up in another year.
//
// A mount that hangs doesn't hang antlerd: each call ends at its deadline, and
// only so many may be stuck in the kernel at once.
//
// # Which quota
//
// The quota limits the sum of file lengths (mfssetquota -L). MooseFS can also
// limit the sum of chunk sizes, but it asks for the room of a whole chunk
// (64 MiB) before it writes the first byte of one: small volumes would be full
// long before they are. Copies don't count, nor does the trash. A volume may have
// a limit of inodes besides (mfssetquota -I).
package volume
