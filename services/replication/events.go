package replication

import (
	"strconv"
	"strings"
)

// event is one line of `drbdsetup events2`, for example
//
//	change peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:Off peer-disk:DUnknown
//
// A change names the object and what changed of it, which may be nothing.
type event struct {
	// verb is exists, create, change, destroy, call or response.
	verb string
	// object is resource, connection, device, peer-device, helper, or "-" at the
	// end of what existed at the start.
	object string
	fields map[string]string
}

// parseEvent returns false for a line that is no event.
func parseEvent(line string) (event, bool) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return event{}, false
	}

	e := event{verb: words[0], object: words[1], fields: map[string]string{}}

	for _, word := range words[2:] {
		key, value, found := strings.Cut(word, ":")
		if !found {
			return event{}, false
		}

		e.fields[key] = value
	}

	return e, true
}

// kernel is the state of the resource as the kernel told it, in DRBD's words.
type kernel struct {
	// known says that the state was told completely.
	known bool
	// exists says that there is a resource at all.
	exists     bool
	role       Role
	suspended  string
	disk       string
	connection string
	peerRole   Role
	peerDisk   string
	// replication is Off, Established, SyncSource, SyncTarget, ...
	replication string
	// size and outOfSync in KiB, where statistics were asked for.
	size, outOfSync uint64
	// connects counts how often the peer came, compared how often all of both replicas
	// was compared to the end.
	connects, compared int
	// splitBrain: the last attempt to connect found one.
	splitBrain bool
	// failures counts how often the disk was lost, for whatever reason, since it was
	// attached.
	failures int
}

// apply returns the state after the event.
func (k kernel) apply(e event) kernel {
	if e.verb == "exists" && e.object == "-" {
		k.known = true

		return k
	}

	if name, named := e.fields["name"]; named && name != resourceName {
		return k
	}

	switch e.object {
	case "resource":
		return k.applyResource(e)
	case "connection":
		return k.applyConnection(e)
	case "device":
		return k.applyDevice(e)
	case "peer-device":
		return k.applyPeerDevice(e)
	case "helper":
		// The handler itself is told by its own call. This one needs no answer. The one
		// before, initial-split-brain, is also called for one that DRBD ends by itself
		// then, since a person has decided; and that is after the event of the connection:
		// 8.4 tells of a connection when its handshake begins.
		if e.verb == "call" && e.fields["helper"] == "split-brain" {
			k.splitBrain = true
		}
	}

	return k
}

func (k kernel) applyResource(e event) kernel {
	if e.verb == "destroy" {
		return kernel{known: k.known}
	}

	k.exists = true

	set(e, "role", &k.role)
	set(e, "suspended", &k.suspended)

	if k.suspended == "no" {
		k.suspended = ""
	}

	return k
}

func (k kernel) applyConnection(e event) kernel {
	// DRBD 8.4 forgets a connection that it has given up.
	if e.verb == "destroy" {
		k.connection, k.peerRole = standAlone, ""

		return k
	}

	set(e, "connection", &k.connection)
	set(e, "role", &k.peerRole)

	if e.fields["connection"] == connected {
		k.splitBrain = false
		k.connects++
	}

	return k
}

func (k kernel) applyDevice(e event) kernel {
	if e.verb == "destroy" {
		k.disk = ""

		return k
	}

	before := k.disk
	set(e, "disk", &k.disk)

	if !attached(before) && attached(k.disk) {
		k.failures = 0
	}

	setNumber(e, "size", &k.size)

	if k.disk == diskFailed && before != diskFailed {
		k.failures++
	}

	return k
}

func (k kernel) applyPeerDevice(e event) kernel {
	if e.verb == "destroy" {
		k.peerDisk, k.replication = "", ""

		return k
	}

	before := k.replication
	set(e, "peer-disk", &k.peerDisk)
	set(e, "replication", &k.replication)

	if strings.HasPrefix(before, verifying) && k.replication == established {
		k.compared++
	}

	setNumber(e, "out-of-sync", &k.outOfSync)

	return k
}

// Connected is DRBD's word for a connection over which it replicates.
const Connected = "Connected"

// Words of DRBD that matter here.
const (
	connected        = Connected
	established      = "Established"
	verifying        = "Verify" // VerifyS where it was asked for, VerifyT on the other side
	standAlone       = "StandAlone"
	diskUpToDate     = "UpToDate"
	diskConsistent   = "Consistent"
	diskInconsistent = "Inconsistent"
	diskOutdated     = "Outdated"
	diskDiskless     = "Diskless"
	diskFailed       = "Failed"
	diskAttaching    = "Attaching"
	suspendedFencing = "fencing"
	suspendedQuorum  = "quorum"
)

// awaitsWord reports whether I/O that is suspended so goes on when our quorum has
// recorded that the peer is outdated.
func awaitsWord(suspended string) bool {
	return suspended == suspendedFencing || suspended == suspendedQuorum
}

// frozen is why writes wait, "" if they don't. DRBD 9 says that it lacks its
// quorum also where nobody writes.
func (k kernel) frozen() string {
	if k.suspended == suspendedQuorum && k.role != RolePrimary {
		return ""
	}

	return k.suspended
}

// alone reports whether the peer isn't even looked for.
func (k kernel) alone() bool { return k.connection == "" || k.connection == standAlone }

// syncing reports whether blocks are on their way from one side to the other.
func (k kernel) syncing() bool {
	switch k.replication {
	case "SyncSource", "SyncTarget", "PausedSyncS", "PausedSyncT":
		return true
	}

	return false
}

// inSync is the share of the device that is equal on both sides, in percent.
func (k kernel) inSync() float64 {
	if !k.syncing() || k.size == 0 || k.outOfSync > k.size {
		return 100
	}

	return 100 * float64(k.size-k.outOfSync) / float64(k.size)
}

func set[T ~string](e event, key string, to *T) {
	if value, found := e.fields[key]; found {
		*to = T(value)
	}
}

func setNumber(e event, key string, to *uint64) {
	if number, err := strconv.ParseUint(e.fields[key], 10, 64); err == nil {
		*to = number
	}
}

// replay returns the state after all of the lines.
func replay(lines string) kernel {
	var k kernel

	for line := range strings.Lines(lines) {
		if e, ok := parseEvent(line); ok {
			k = k.apply(e)
		}
	}

	return k
}
