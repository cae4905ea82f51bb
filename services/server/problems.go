package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	antlerv1 "antler/api/antler/v1"
	"antler/services/metadata"
	"antler/services/node/config"
	"antler/services/replication"
)

const (
	// spaceLow is the part of free space below which MooseFS soon has nowhere to
	// put a copy.
	spaceLow = 0.1
	// certificateSoon is how long before its end a certificate is a problem.
	certificateSoon = 30 * 24 * time.Hour
)

// problemList collects problems; errors come before warnings in the end.
type problemList []*antlerv1.Problem

func (l *problemList) wrong(node, summary, advice string) *antlerv1.Problem {
	return l.add(&antlerv1.Problem{Severity: antlerv1.Problem_SEVERITY_ERROR, Node: node, Summary: summary, Advice: advice})
}

func (l *problemList) warn(node, summary, advice string) *antlerv1.Problem {
	return l.add(&antlerv1.Problem{Severity: antlerv1.Problem_SEVERITY_WARNING, Node: node, Summary: summary, Advice: advice})
}

// add returns the problem, to be given its reason.
func (l *problemList) add(problem *antlerv1.Problem) *antlerv1.Problem {
	*l = append(*l, problem)

	return problem
}

// sort puts errors before warnings.
func (l problemList) sort() {
	slices.SortStableFunc(l, func(a, b *antlerv1.Problem) int { return int(b.Severity) - int(a.Severity) })
}

// problems is all that a person should know, each with what to do.
func (s snapshot) problems() []*antlerv1.Problem {
	var list problemList

	s.quorumProblems(&list)
	s.servingProblems(&list)

	for _, member := range s.cluster.Nodes {
		s.nodeProblems(&list, member)
	}

	s.storageProblems(&list)
	s.ownProblems(&list)
	s.provisionerProblem(&list)
	s.settingProblems(&list)

	list.sort()

	return list
}

func (s snapshot) quorumProblems(list *problemList) {
	if s.authority.Error != "" {
		list.wrong(s.self, s.authority.Error, "").Reason = "AUTHORITY_FAILED"
	}

	if s.authority.HaveQuorum {
		return
	}

	var voters []string

	for _, voter := range s.cluster.Voters() {
		if voter.Name != s.self {
			voters = append(voters, voter.Name)
		}
	}

	list.wrong(s.self, fmt.Sprintf("%s hears from no leader of the quorum, so what it shows may be old", s.self),
		fmt.Sprintf("start %s, or repair the network to them (TCP port %d); service goes on by itself when a majority of the voters is there",
			strings.Join(voters, " and "), config.RaftPort)).Reason = "NO_QUORUM"
}

func (s snapshot) servingProblems(list *problemList) {
	holder := s.authority.Holder

	if s.serving() != "" {
		if s.moves() {
			list.warn(holder, fmt.Sprintf("a switchover is under way: the master moves from %s to %s", holder, s.authority.Target), seeTakeover).Reason = "SWITCHOVER"
		}

		return
	}

	switch {
	case s.movesNow():
		list.wrong("", fmt.Sprintf("nobody serves for a moment: a switchover to %s is under way", s.authority.Target), seeTakeover).Reason = "SWITCHOVER"

		return
	case holder == "":
		list.wrong("", "nobody serves", s.orWait()).Reason = "NOT_SERVING"

		return
	case !s.reports[holder].Alive:
		// What it said last of its master says nothing of now.
		list.wrong(holder, fmt.Sprintf("nobody serves: %s holds epoch %d and is not heard of", holder, s.authority.Epoch), s.orWait()).Reason = "NOT_SERVING"

		return
	}

	master := s.reports[holder].Report.Master
	if master.Phase == string(metadata.PhaseFailed) || master.Error != "" {
		list.wrong(holder, fmt.Sprintf("%s holds epoch %d and cannot serve", holder, s.authority.Epoch), master.Error).Reason = "NOT_SERVING"

		return
	}

	phase := master.Phase
	if master.Epoch != s.authority.Epoch || phase == "" {
		phase = "waiting for the replica"
	}

	list.wrong(holder, fmt.Sprintf("nobody serves yet: %s takes over, in epoch %d (%s)", holder, s.authority.Epoch, phase), s.orWait()).Reason = "NOT_SERVING"
}

// seeTakeover is all that there is to do about one.
const seeTakeover = "wait; `antlerctl events -f` shows the takeover"

// moves reports whether the holder is asked to hand over to another node. The quorum
// takes the wish off its record when the other one is granted its epoch.
func (s snapshot) moves() bool {
	return s.authority.Target != "" && s.authority.Target != s.authority.Holder
}

// movesNow reports whether a switchover is why nobody serves, and goes on by itself. The
// wish for one outlives its target, and who was to hand over: what the quorum waits for
// then, and what a person can do about it, must not hide behind it.
func (s snapshot) movesNow() bool {
	holder := s.authority.Holder

	return s.moves() && s.authority.Reason == "" && s.reports[s.authority.Target].Alive && (holder == "" || s.reports[holder].Alive)
}

// returnTime is what chunkservers get to come back after a takeover, and the floating
// address to be announced: twice the 5 s after which a chunkserver tries again
// (MASTER_RECONNECTION_DELAY), and some.
const returnTime = 12 * time.Second

// tookOver is how long this node's master has served, if so short that not all can be
// back yet.
func (s snapshot) tookOver() (time.Duration, bool) {
	ago := s.now.Sub(s.since)

	return ago, s.serves(s.self) && !s.since.IsZero() && ago >= 0 && ago < returnTime
}

// orWait is why nobody is granted an epoch, or that somebody is about to be.
func (s snapshot) orWait() string {
	if s.authority.Reason != "" {
		return s.authority.Reason
	}

	return seeTakeover
}

func (s snapshot) nodeProblems(list *problemList, member config.Member) {
	report, heard := s.reports[member.Name]

	if !report.Alive {
		since := "yet"
		if heard && !report.LastSeen.IsZero() {
			since = "since " + report.LastSeen.UTC().Format(time.RFC3339)
		}

		problem := list.wrong(member.Name, fmt.Sprintf("%s was not heard of %s", member.Name, since),
			"look at its power, its console and its network; it comes back by itself")
		problem.Reason = "NODE_DOWN"

		if s.authority.Guards[member.Name].Dead {
			problem.Reason, problem.Summary = "NODE_RELEASED", problem.Summary+", and surely is without power or was reset: its volumes are free for other nodes"
		}

		// What it last said of itself is no longer true.
		return
	}

	if member.Has(config.RoleMetadata) {
		s.replicaProblems(list, member.Name)
	}

	// Of the one that serves, see storageProblems.
	if problem := report.Report.AddressError; problem != "" && !s.serves(member.Name) {
		list.warn(member.Name, fmt.Sprintf("the floating address on %s: %s", member.Name, problem), "").Reason = "ADDRESS_FAILED"
	}

	s.clockProblem(list, member.Name, report.Report.ClockAhead)

	if s.cluster.Kubernetes.DeadNode.Release && member.Has(config.RoleClient) && s.authority.Guards[member.Name].TTLMS == 0 {
		list.warn(member.Name, fmt.Sprintf("%s has not promised to reset itself: should it die, it keeps its volumes", member.Name),
			"it does so within seconds of antlerd's start; if not, look whether it has a watchdog ("+config.WatchdogDevice+") that is quick enough, which antlerd's log there says, and whether antlerd is of the same version on all voters").Reason = "NODE_UNGUARDED"
	}

	for _, service := range servicesDown(report.Report) {
		p := list.wrong(member.Name, fmt.Sprintf("%s does not run on %s: %s", service, member.Name, report.Report.Services[service]),
			fmt.Sprintf("it is started again by itself; `antlerctl logs %s -n %s` says why it ended", service, member.Name))
		p.Reason, p.Subject = "SERVICE_DOWN", service
	}
}

func (s snapshot) replicaProblems(list *problemList, node string) {
	replica := s.reports[node].Report.Replica

	switch {
	case replica.Error != "":
		list.wrong(node, fmt.Sprintf("the replica on %s: %s", node, replica.Error), "").Reason = "REPLICA_FAILED"
	case replica.Phase == string(replication.PhaseMissing):
		list.wrong(node, fmt.Sprintf("the replica's device on %s is missing", node), "plug the disk in").Reason = "REPLICA_MISSING"
	case replica.Suspended != "":
		list.wrong(node, fmt.Sprintf("I/O of the replica on %s is frozen (%s)", node, replica.Suspended),
			"it goes on by itself as soon as a majority of the voters is there").Reason = "REPLICA_FROZEN"
	case !s.authority.Formatted:
	case replica.Phase == string(replication.PhaseUp) && replica.SyncPercent < 100 && replica.Disk != upToDateReplica:
		list.warn(node, fmt.Sprintf("the replica on %s is being made equal, %.0f %% are done", node, replica.SyncPercent),
			"wait: until then only one replica holds everything").Reason = "REPLICA_SYNCING"
	case !slices.Contains(s.authority.UpToDate, node):
		list.warn(node, fmt.Sprintf("the replica on %s lacks acknowledged writes (disk %s, connection %s)", node, orNone(replica.Disk), orNone(replica.Connection)),
			fmt.Sprintf("it catches up by itself when it reaches its peer (TCP port %d)", config.ReplicationPort)).Reason = "REPLICA_OUTDATED"
	}
}

func (s snapshot) storageProblems(list *problemList) {
	if s.serving() == "" {
		return
	}

	space := s.space()
	ago, justNow := s.tookOver()

	switch {
	case space.Chunkservers >= space.ChunkserversExpected:
	case justNow:
		list.warn("", fmt.Sprintf("%s took over %d s ago, and %d of %d chunkservers are back so far", s.self, int(ago.Seconds()), space.Chunkservers, space.ChunkserversExpected),
			"wait: they come back by themselves within seconds").Reason = "CHUNKSERVERS_RETURNING"
	default:
		p := list.wrong("", fmt.Sprintf("%d of %d chunkservers are connected", space.Chunkservers, space.ChunkserversExpected),
			"see which node is down, or `antlerctl logs mfschunkserver -n NODE`")
		p.Reason, p.Subject = "CHUNKSERVERS_MISSING", fmt.Sprint(space.ChunkserversExpected-space.Chunkservers)
	}

	if space.TotalBytes > 0 && float64(space.FreeBytes) < spaceLow*float64(space.TotalBytes) {
		list.warn("", fmt.Sprintf("%.0f %% of the space are free", 100*float64(space.FreeBytes)/float64(space.TotalBytes)),
			"delete what is not needed, or add a chunkserver").Reason = "SPACE_LOW"
	}

	if free := s.reports[s.serving()].Report.Master.ReplicaFree; free > 0 && free < metadata.LowFree {
		list.warn(s.serving(), fmt.Sprintf("the replica's file system has %d MiB left", free>>20),
			fmt.Sprintf("see below %s what doesn't belong there; with less than %d MiB the master is stopped", config.MetadataPath, metadata.LeastFree>>20)).Reason = "REPLICA_FILLING"
	}

	if s.serving() != s.self {
		return
	}

	switch {
	case s.address.Error != "":
		list.wrong(s.self, "the floating address: "+s.address.Error, "").Reason = "ADDRESS_FAILED"
	case justNow && len(s.reports[s.self].Report.Addresses) == 0 && len(s.cluster.Floating) > 0:
		list.warn(s.self, s.self+" takes over, and the floating address is not there yet", "wait: it comes within seconds").Reason = "ADDRESS_RETURNING"
	}

	s.missingChunks(list, space.Chunkservers < space.ChunkserversExpected)

	if s.storage.Endangered > 0 {
		list.warn("", fmt.Sprintf("%d chunks have one copy left of several", s.storage.Endangered),
			"bring back the chunkservers that are down; MooseFS makes the copies again by itself").Reason = "CHUNKS_ENDANGERED"
	}
}

// missingChunks have no copy. With every chunkserver there it may be that nothing
// is missing: a chunk that was promised to a client when the master died, and
// that no chunkserver ever made, counts until MooseFS's scan of all files finds
// that no data was written to it (fs_test_files in its filesystem.c: 55 minutes).
func (s snapshot) missingChunks(list *problemList, down bool) {
	if s.storage.Missing == 0 {
		return
	}

	what := fmt.Sprintf("%d chunks have no copy", s.storage.Missing)
	if down {
		list.wrong("", what+": the files they belong to can't be read whole", "bring back the chunkservers that are down, before anything else").Reason = "CHUNKS_AWAY"

		return
	}

	list.wrong("", what+", though all chunkservers are there",
		"if mfsmaster was killed within the last hour, these are chunks that it was changing then, which can be read again a minute or two after its start, "+
			"or had promised and nobody had written to, which go within the hour; if it was not, or they stay, a disk has lost them: bring it back").Reason = "CHUNKS_WITHOUT_COPY"
}

// ownProblems are those that only the node itself knows of.
func (s snapshot) ownProblems(list *problemList) {
	for _, id := range slices.Sorted(maps.Keys(s.stores)) {
		if store := s.stores[id]; store.Error != "" {
			p := list.wrong(s.self, fmt.Sprintf("the chunk store %s on %s: %s", store.Configured, s.self, store.Error), "")
			p.Reason, p.Subject = "CHUNK_STORE_FAILED", store.Configured
		}
	}

	for _, name := range slices.Sorted(maps.Keys(s.modules)) {
		if module := s.modules[name]; !module.Loaded {
			p := list.wrong(s.self, fmt.Sprintf("the kernel module %s is missing on %s: %s", name, s.self, module.Error), "install the kernel's modules there")
			p.Reason, p.Subject = "MODULE_MISSING", name
		}
	}

	// It is no failure of the storage.
	if s.k3s != nil && s.k3s.Error != "" {
		list.warn(s.self, fmt.Sprintf("k3s does not run on %s: %s", s.self, s.k3s.Error),
			"upgrade the node to an image that was built with k3s, or remove k3s from its configuration").Reason = "K3S_DOWN"
	}

	s.backupProblem(list)
}

// backupProblem is that of the node that makes the backups, if any.
func (s snapshot) backupProblem(list *problemList) {
	if s.backup.Error == "" {
		return
	}

	last := "there is none on this node yet"
	if !s.backup.Last.IsZero() {
		last = "the last one there is of " + s.backup.Last.UTC().Format(time.RFC3339)
	}

	list.warn(s.self, fmt.Sprintf("no backup of the metadata is being made on %s: %s", s.self, s.backup.Error),
		last+"; it is tried again by itself within minutes").Reason = "BACKUP_FAILED"
}

// provisionerProblem is no failure of the storage: what is mounted goes on.
func (s snapshot) provisionerProblem(list *problemList) {
	if s.provisioner == nil {
		return
	}

	advice := "it is tried again by itself; `antlerctl get provisioner -n " + s.self + "` shows how far it is"

	switch {
	case s.provisioner.Error != "":
		list.warn(s.self, "Kubernetes's claims are not provisioned: "+s.provisioner.Error, advice).Reason = "PROVISIONER_FAILED"
	case s.provisioner.TaintsError != "":
		list.warn(s.self, "the taints of dead nodes in Kubernetes are not as they should be: "+s.provisioner.TaintsError, advice).Reason = "TAINT_FAILED"
	case s.provisioner.SnapshotsError != "":
		list.warn(s.self, "Kubernetes's VolumeSnapshots are not taken: "+s.provisioner.SnapshotsError, advice).Reason = "SNAPSHOTS_FAILED"
	}
}

func (s snapshot) settingProblems(list *problemList) {
	metadataNodes := s.cluster.With(config.RoleMetadata)
	if len(metadataNodes) == 1 {
		list.warn("", fmt.Sprintf("there is one replica of the metadata only, on %s: its loss is the loss of everything", metadataNodes[0].Name),
			"add a second metadata node and a witness to the cluster file, and run `antlerctl gen config` again").Reason = "ONE_REPLICA"
	}

	if s.cluster.Storage.Copies == 1 {
		list.warn("", "new data is stored once: the loss of a disk is the loss of the data on it", "set storage.copies to 2 in the cluster file").Reason = "ONE_COPY"
	}

	if s.cluster.Storage.Durability == config.DurabilityLoseSecondsOnPowerCut {
		list.warn("", "a power cut loses seconds of acknowledged operations, as configured", "set storage.durability to safe in the cluster file").Reason = "UNSAFE_DURABILITY"
	}

	if left := s.certificateEnds.Sub(s.now); !s.certificateEnds.IsZero() && left < certificateSoon {
		list.warn(s.self, fmt.Sprintf("the certificate of %s ends on %s", s.self, s.certificateEnds.UTC().Format(time.DateOnly)),
			"run `antlerctl gen config` again and give the nodes their new files").Reason = "CERTIFICATE_ENDS"
	}
}

func orNone(word string) string {
	if word == "" {
		return "none"
	}

	return word
}
