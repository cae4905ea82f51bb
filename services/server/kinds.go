package server

// KindInfo describes a kind of event.
type KindInfo struct {
	Kind string
	// Meaning says what has happened when it is emitted.
	Meaning string
}

// Kinds is the table of all kinds of events, in the order of a takeover.
func Kinds() []KindInfo {
	return []KindInfo{
		{"node.started", "antlerd started on the node"},
		{"node.stopping", "antlerd was told to stop"},
		{"node.upgrade", "a new system was written to the other slot, and the node restarts to try it"},
		{"clock.set", "this node's wall clock was behind, and was put forward"},
		{"node.fence", "the node resets itself, because it could not stop serving in time, or heard nothing of the quorum for as long as it has promised"},

		{"authority.formed", "the quorum recorded that file system and metadata exist"},
		{"authority.consent", "the quorum consented to create the replicas"},
		{"authority.leader", "the node learnt of another leader"},
		{"authority.quorum-lost", "the node hears from no leader any more"},
		{"authority.granted", "an epoch was granted to the node"},
		{"authority.released", "the node gave its epoch back"},
		{"authority.lease-lost", "the lease ended: the node stops serving"},
		{"authority.outdated", "the quorum took a replica off the list of those with every acknowledged write"},
		{"authority.up-to-date", "the quorum put a replica back on that list"},
		{"authority.switchover", "a person asked for a switchover"},
		{"authority.failover", "a person forced a grant"},
		{"authority.discard", "a person gave up what only one replica had, in a split brain"},
		{"authority.store-replaced", "a person gave a voter its vote back with a new store"},
		{"authority.dead", "a node was not heard of for so long that it is without power, or has reset itself as it promised"},
		{"authority.back", "a node that was dead is heard of again"},

		{"replication.created", "DRBD's metadata was created on the device"},
		{"replication.connected", "the replicas are connected"},
		{"replication.disconnected", "the replicas are no longer connected"},
		{"replication.promoted", "the replica is primary"},
		{"replication.demoted", "the replica is secondary"},
		{"replication.suspended", "I/O is frozen until the quorum has outdated the peer"},
		{"replication.resumed", "I/O goes on"},
		{"replication.resync-started", "the replicas are being made equal again"},
		{"replication.resync-finished", "the replicas are equal"},
		{"replication.compared", "all of both replicas was compared, and is the same"},
		{"replication.differed", "the replicas were not the same, though their disks had said so, and are made equal"},
		{"replication.split-brain", "both replicas were written apart from each other: a person must decide"},
		{"replication.io-error", "the backing disk failed"},
		{"replication.broken-off", "this node lost its lease while I/O was frozen, and lets go of its disk"},

		{"metadata.formatted", "file system and first metadata were made"},
		{"metadata.mounted", "the replica's file system is mounted"},
		{"metadata.unmounted", "the replica's file system is unmounted"},
		{"metadata.master-started", "mfsmaster runs"},
		{"metadata.master-answering", "mfsmaster answers its own protocol"},
		{"metadata.master-loading", "mfsmaster takes long to load its metadata, and is at work"},
		{"metadata.master-silent", "mfsmaster no longer answers its own protocol"},
		{"metadata.mended", "what kept mfsmaster from starting with its own metadata was changed"},
		{"metadata.saving", "mfsmaster is told to save its metadata before a switchover"},
		{"metadata.saved", "mfsmaster saved its metadata before a switchover"},
		{"metadata.master-stopped", "mfsmaster has ended"},
		{"metadata.master-killed", "mfsmaster was killed"},
		{"metadata.clients-admitted", "clients' requests are let in to a master that has just started"},
		{"metadata.full", "the replica's file system has no room for mfsmaster's changelog"},
		{"metadata.room-made", "what nothing needs any more was removed from a full replica"},
		{"metadata.failed", "this node cannot serve"},
		{"metadata.backed-up", "a backup of the metadata was made, as configured"},
		{"metadata.backup-failed", "a backup of the metadata could not be made"},

		{"address.added", "the floating address is on an interface"},
		{"address.announced", "the neighbours were told where the floating address is"},
		{"address.removed", "the floating address is off"},
		{"address.conflict", "somebody else answers for the floating address"},

		{"clients.reconnect", "connections to the old master were ended, so that clients look for the new one"},
		{"chunkservers.disconnected", "connections of chunkservers with a machine that is gone were ended, so that nobody waits for it"},
		{"storage.defaults", "copies and trash time of new data are set"},
		{"chunkstore.refused", "a place for chunks is not used"},

		{"volume.created", "a volume was created"},
		{"volume.expanded", "a volume's size was changed"},
		{"volume.deleted", "a volume went to the archive"},
		{"volume.adopted", "a directory of MooseFS became a volume"},
		{"volume.undeleted", "a volume came back from the archive"},
		{"volume.expired", "an archived volume's time was over"},
		{"volume.released", "the use of a volume by a node that is dead, or of which somebody has said so, was ended: others may use it"},
		{"volume.snapshot-taken", "a snapshot of a volume was taken"},
		{"volume.snapshot-deleted", "a snapshot was deleted"},

		{"kubernetes.tainted", "Kubernetes was told that a node is out of service, and ends its pods"},
		{"kubernetes.untainted", "the node is back, or nodes are not to be tainted any more: Kubernetes may use it again"},
	}
}
