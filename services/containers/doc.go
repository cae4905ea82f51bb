// Package containers runs every MooseFS process as a task of containerd, in
// containerd's namespace "antler", and keeps it as its ContainerSpec says.
//
// The processes must outlive antlerd: a restart or an upgrade of antlerd may
// break no mount, and must not stop a chunkserver or a serving master. So
// antlerd is nobody's parent. containerd's shim is, and it outlives containerd
// as well. What antlerd finds running when it starts, it adopts: a digest of the
// spec is kept as a label of the container and says whether that process is
// still what is wanted.
//
// There are no images and no snapshots. A container is a read-only skeleton
// directory with the host's /usr bound into it, an /etc written for it alone,
// and the data paths its spec names. So what runs is what the host's package
// manager (or image) brought, and the only writable place is the data path:
// an emergency dump of mfsmaster to some other place ends with the container
// and can't come back later as newer metadata.
//
// Three rules hold whatever fails:
//
//   - There are never two instances of one container. The cgroup
//     /antler/NAME is checked to be empty before anything is started, so this
//     holds even if containerd has lost its memory.
//   - A stop always ends: StopSignal, then SIGKILL to the whole cgroup.
//   - Kill needs nobody's help: it writes to the cgroup and to a pidfd that was
//     opened when the task was started or adopted, and works while containerd
//     hangs. The authority's lease depends on it.
//
// The end of a process is seen through its pidfd, within microseconds and also
// while containerd is down. Whether a process that runs is of any use is not
// judged here: a stopped (SIGSTOP) or deaf master is its prober's business.
//
// Controller is the supervisor, Runtime what it needs, Containerd the real
// one. LogController bounds the log files; TailLog reads them.
package containers
