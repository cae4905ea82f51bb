// Package moosefs looks after everything of MooseFS but its master: it keeps
// chunkserver, metalogger and mounts of this node running with the right
// settings, and reports what the master says about the storage. How a master is
// asked is in package protocol.
//
// # What an acknowledged write is worth
//
// Read in MooseFS 4.57.5, mfschunkserver: write_last and write_middle
// (mainserv.c) answer a block as soon as hdd_write (hddspacemgr.c) has called
// pwrite, and the first chunkserver of a chain once the next has answered as
// well. The block is then in the page cache of all copies, and on no disk.
// HDD_FSYNC_BEFORE_CLOSE does not change that: the fsync is made by a thread
// that looks every few hundred milliseconds for chunks nobody writes to
// (hdd_delayed_ops), after the client has its answer. fsync in the client waits for
// the answers and for the master's, and for nothing else.
//
// So a cluster that loses power as a whole loses acknowledged data, with any
// number of copies. What closes the gap is to make pwrite itself wait for the
// disk: a chunk file system on a device of ours is mounted with "sync", and a
// path of somebody else's file system gets the S attribute, which new files
// inherit (chattr(1)). Both make the kernel treat each file as if opened with
// O_SYNC, and each rename and create as if followed by fsync of the directory,
// so the version in a chunk file's name is safe as well. The price is one disk
// flush for each block of up to 64 KiB: a small flash card that flushes in 10 ms
// then writes 6 MB/s. The setting storage.durability "lose-seconds-on-power-cut"
// goes without.
//
// A gap of milliseconds is left, and is MooseFS's: the table of checksums at
// the head of a chunk is written when the client ends its write operation
// (hdd_io_end), and the client doesn't wait for that. It then asks the master to
// record the new length, which takes a flush on both replicas, so the checksums
// are on disk first unless a chunkserver lags behind. If all copies of the
// chunk lose power inside that window, the data is on disk but its checksum is
// not, and reading it fails until somebody runs mfschunktool -r on one copy.
//
// # How a client comes back
//
// Read in mfsclient/mastercomm.c. A client that loses its connection connects
// again at once, twice, with 2 s for each attempt, and then sleeps 2 s before
// it tries again. A request that waits is repeated after 1 ms, and then after
// pauses that grow by 0.3 s each (0.3, 0.6, 0.9, ...; from the 30th on 10 s). So a
// client whose connection is refused while no master listens comes back up to
// 2 s after the master does, and its requests up to another 1.5 s later. One
// that never learns that the old connection is dead waits on it, and when it
// is told once the new master answers, it is back within milliseconds. That is
// what Reconnector does: it destroys the stale connections (SOCK_DESTROY) when the
// new master answers a request of its own. Without it they hang until TCP's retransmission meets the new
// address: 6 s and more. For the same reason a planned stop should take the
// floating address away before it ends the master: no FIN and no RST reaches
// the clients, and they wait instead of sleeping. Measured: a master that was
// killed and answered again after 1.5 s had its clients' waiting request done
// after 3.03 s, which is the pause 0.3+0.6+0.9+1.2 s; connections that were
// destroyed with a master present cost 0.3 to 0.5 s, most of it the
// chunkservers' second. A chunkserver tries when a second of the wall clock begins,
// for a second, and every other time not in the next one (masterconn_reconnect,
// masterconn_connecttimeout): so its connection is destroyed as soon as the old master
// is known to be dead, and the kernel sends its SYN each 0.1 s (syn.go).
//
// One more wait is the master's own (chunk_univ_multi_modify and
// chunk_prepare_to_modify in chunks.c): in the first 5 s after its start, and
// while a chunkserver registers, it lets nobody change an existing chunk of
// which fewer copies are there than wanted; clients ask again every 0.5 s. New
// chunks are made at once on the chunkservers that are there, which is why clients'
// requests are kept out until there are enough (services/metadata). So a file that
// was being written on the chunkserver of the node that lost its power
// goes on 5 to 6 s after the new master was started, and new files before that.
package moosefs
