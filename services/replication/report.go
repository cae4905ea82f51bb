package replication

import (
	"context"
	"fmt"
	"strings"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
)

// report writes the status.
func (k *keeping) report(ctx context.Context, r controller.Runtime) error {
	status := k.status()

	err := safe.WriterModify(ctx, r, NewReplicaStatus(), func(res *ReplicaStatus) error {
		*res.TypedSpec() = status

		return nil
	})
	if err != nil {
		return fmt.Errorf("report the replica: %w", err)
	}

	return nil
}

func (k *keeping) status() ReplicaStatusSpec {
	status := ReplicaStatusSpec{
		Phase:       k.phase(),
		Role:        k.kernel.role,
		Disk:        k.kernel.disk,
		Connection:  k.kernel.connection,
		PeerRole:    k.kernel.peerRole,
		PeerDisk:    k.kernel.peerDisk,
		Suspended:   k.kernel.frozen(),
		SyncPercent: 100,
		Epoch:       k.epoch,
		FailedEpoch: k.failedEpoch,
		SplitBrain:  k.kernel.splitBrain,
		BrokenOff:   k.broken,
		Sound:       k.sound.isSet(),
		Comparing:   strings.HasPrefix(k.kernel.replication, verifying),
		Compared:    k.comparison.at,
		Comparison:  k.compared(),
		Error:       k.errorText(),
	}

	// It was secondary in this epoch before it is to be primary, and the kernel tells
	// of that role too soon: see settle.
	if k.reached != k.kernel.role {
		status.Epoch = 0
	}

	if k.spec != nil {
		status.Backing = k.spec.Device
	}

	if k.kernel.exists {
		status.Device = drbdDevice
	}

	if k.kernel.syncing() {
		status.SyncPercent = k.percent
	}

	if k.lost && !k.broken {
		status.IOErrors = max(1, k.kernel.failures)
	}

	if k.late() && k.spec != nil {
		status.FailedEpoch = k.spec.Epoch
	}

	return status
}

func (k *keeping) phase() Phase {
	switch {
	case !k.kernel.known:
		return PhaseUnknown
	case !k.kernel.exists:
		return k.found.shown()
	case k.kernel.disk == "" || k.kernel.disk == diskDiskless || k.kernel.disk == diskFailed || k.kernel.disk == diskAttaching:
		return PhaseDown
	}

	return PhaseUp
}

// again asks for another look.
func (f *finding) again() {
	if f.phase != PhaseUnknown {
		f.last = f.phase
	}

	f.phase = PhaseUnknown
}

// shown is the phase for the status. While a device is looked at again, it is
// what it was.
func (f finding) shown() Phase {
	if f.phase == PhaseUnknown && f.last != PhaseUnknown {
		return f.last
	}

	return f.phase
}

// errorText says the most important thing that is wrong.
func (k *keeping) errorText() string {
	switch {
	case k.watch.problem() != nil:
		return fmt.Sprintf("watch DRBD: %v: is the kernel module drbd loaded?", k.watch.problem())
	case k.late():
		return k.lateText()
	case k.lost && !k.broken:
		return fmt.Sprintf("the disk under %s failed and was detached: replace it, and restart this node", drbdDevice)
	case k.kernel.splitBrain:
		return k.splitBrainText()
	case !k.kernel.exists && k.found.problem != "":
		return k.found.problem
	case k.problem != nil:
		return k.problem.Error()
	}

	// It is less than anything else that may be wrong with it.
	if k.kernel.bothThere() {
		return k.comparison.differText()
	}

	return ""
}

// lateText says what keeps it from serving again.
func (k *keeping) lateText() string {
	const text = "this node let go of the replica's disk to stop serving, and it is not attached again yet"

	switch {
	case k.problem != nil:
		return text + ": " + k.problem.Error()
	case !k.kernel.exists && k.found.problem != "":
		return text + ": " + k.found.problem
	}

	return text
}

// splitBrainText says what a person has to do, or what is being done.
func (k *keeping) splitBrainText() string {
	switch {
	case k.spec == nil || !k.spec.Discard && !k.spec.PeerDiscards:
		return "split brain: both replicas were written apart from each other, and stay apart until a person decides which one to keep: " +
			"`antlerctl replication resolve --keep NODE` shows what each side has"
	case k.problem != nil && k.problemStep == stepDiscard:
		return k.problem.Error()
	}

	return "split brain: it is being ended by a person's word"
}

// tell records what changed.
func (k *keeping) tell(before, after kernel) {
	if !before.known || !after.known {
		return
	}

	for _, change := range changes(before, after) {
		if change.kind == ioError && k.broken {
			change.kind, change.message = "replication.broken-off", "this node lets go of its disk: what is frozen fails, and the peer can serve"
		}

		k.Events.Emit(change.kind, k.tellingEpoch(), change.message)
	}
}

// tellingEpoch is the epoch that is being worked for.
func (k *keeping) tellingEpoch() uint64 {
	if k.spec == nil {
		return k.epoch
	}

	return k.spec.Epoch
}

// ioError is the kind of event that has another meaning where the disk was let go of.
const ioError = "replication.io-error"

// change is an event that is worth telling people.
type change struct{ kind, message string }

// changes are the differences between two states that people want to know.
func changes(before, after kernel) []change {
	var out []change

	add := func(happened bool, kind, message string) {
		if happened {
			out = append(out, change{kind, message})
		}
	}

	was, is := before.connection == connected, after.connection == connected

	add(!was && is, "replication.connected", "connected to the peer")
	add(was && !is, "replication.disconnected", "lost the peer: "+after.connection)
	add(before.role != RolePrimary && after.role == RolePrimary, "replication.promoted", "this replica is primary")
	add(before.role == RolePrimary && after.role != RolePrimary, "replication.demoted", "this replica is no longer primary")
	add(before.frozen() == "" && after.frozen() != "", "replication.suspended", "I/O is frozen: "+after.frozen())
	add(before.frozen() != "" && after.frozen() == "", "replication.resumed", "I/O goes on")
	add(!before.syncing() && after.syncing(), "replication.resync-started", "resync as "+after.replication)
	add(before.syncing() && after.replication == established, "replication.resync-finished", "the replicas are equal")
	add(!before.splitBrain && after.splitBrain, "replication.split-brain", "both replicas were written apart from each other")
	add(before.failures < after.failures, ioError, "the backing disk was lost")

	return out
}
