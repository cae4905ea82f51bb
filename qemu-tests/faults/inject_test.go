//go:build vm

package faults

import (
	"context"
	"fmt"
	"time"

	"antler/qemu-tests/lab"
	"antler/services/node/config"
)

// commandTime is what a command typed at a console gets; a machine that is off or
// hangs has no answer.
const commandTime = 20 * time.Second

// inject makes the fault and returns what heals it.
func (r *run) inject(f Fault, roles map[Role]*lab.Machine) (heal func()) {
	on := make([]*lab.Machine, len(f.On))
	for i, role := range f.On {
		on[i] = roles[role]
	}

	nothing := func() {}

	switch f.Kind {
	case PowerCut:
		for _, m := range on {
			r.powerCut(m)
		}
	case LinkCut:
		return r.link(on, true, lab.Rule{Cut: true})
	case OneWay:
		return r.link(on, false, lab.Rule{Cut: true})
	case Delay:
		return r.link(on, true, lab.Rule{Delay: 200 * time.Millisecond})
	case Loss:
		return r.link(on, true, lab.Rule{Drop: 0.2})
	case HeavyLoss:
		return r.link(on, true, lab.Rule{Drop: 0.5})
	case Disorder:
		return r.link(on, true, lab.Rule{Jitter: 20 * time.Millisecond, Twice: 0.1})
	case Isolated:
		others := r.cluster.Others(on[0])
		r.cluster.Switch.Cut(on[0].Name, others...)

		return func() { r.cluster.Switch.Heal(on[0].Name, others...) }
	case MasterKilled:
		r.harm(on[0], "kill -KILL $(pidof mfsmaster)")
	case MasterStopped:
		// Nobody lets it go on: antlerd replaces it.
		r.harm(on[0], "kill -STOP $(pidof mfsmaster)")
	case MasterOOM:
		r.harm(on[0], "for p in $(pidof mfsmaster); do echo 1000 > /proc/$p/oom_score_adj; done; echo f > /proc/sysrq-trigger")
	case ChunkserverKilled:
		r.harm(on[0], "kill -KILL $(pidof mfschunkserver)")
	case AntlerdKilled:
		r.harm(on[0], "kill -KILL $(pidof antlerd)")
	case ContainerdKilled:
		r.harm(on[0], "kill -KILL $(pidof containerd)")
	case ChunkserverStopped:
		return r.stop(on[0], "mfschunkserver")
	case AntlerdStopped:
		r.cluster.Silence(on[0])

		return r.stop(on[0], "antlerd")
	case ContainerdStopped:
		return r.stop(on[0], "containerd")
	case Paused:
		r.pause(on[0], time.Second)
	case PausedLong:
		r.pause(on[0], 10*time.Second)
	case PausedMinute:
		r.pause(on[0], time.Minute)
	case Switchover:
		go r.switchover(on[0].Name)
	default:
		return r.injectMore(f.Kind, on)
	}

	return nothing
}

// injectMore has what is no fault by itself.
func (r *run) injectMore(kind Kind, on []*lab.Machine) (heal func()) {
	switch kind {
	case PowerOn:
		r.start(on)
	case Heal:
		r.cluster.Switch.HealAll()
	case Served:
		r.awaitServed()
	case Whole:
		r.settle("what was before")
	case Compared:
		r.awaitCompared()
	case Differed:
		r.lies, r.mayLie = r.lies+1, r.mayLie-1
		r.awaitDiffered()
	case Comparing:
		r.awaitComparing()
	default:
		return r.injectDisk(kind, on[0])
	}

	return func() {}
}

// injectDisk makes the faults of disks and clocks.
func (r *run) injectDisk(kind Kind, m *lab.Machine) (heal func()) {
	switch kind {
	case DiskStalled:
		return r.stall(m)
	case WriteErrors:
		return r.breakDisk(m, "write")
	case ReadErrors:
		return r.breakDisk(m, "read")
	case DiskLies:
		r.mayLie++

		if err := m.LieAboutFlushes("replica"); err != nil {
			r.Fatalf("%v", err)
		}
	case DiskReplaced:
		r.powerCut(m)

		if err := r.cluster.ReplaceDisk(m, "replica", lab.ReplicaSize); err != nil {
			r.Fatalf("%v", err)
		}
	case ClockLost:
		m.NoClock = true

		r.powerCut(m)
	case DiskFull:
		return r.fill(m)
	case ClockAhead:
		r.step(m, 36*time.Hour)
	case ClockBehind:
		r.step(m, -36*time.Hour)
	default:
		r.Fatalf("nobody knows how to make the fault %q", kind)
	}

	return func() {}
}

// switchover is asked for, and may fail: its machines lose their power. It comes whether the
// replicas are just being compared or not.
func (r *run) switchover(target string) {
	err := r.cluster.SwitchoverNow(r.ctx, r.cluster.Machine("n3"), target)
	if err != nil {
		r.cluster.Say("the switchover to %s is told to have failed: %v", target, err)
	}
}

// breakDisk has the replica's disk answer requests of the kind with an error until the
// machine is started again, which is what somebody does who trusts the disk.
func (r *run) breakDisk(m *lab.Machine, requests string) (heal func()) {
	if err := m.BreakDisk("replica", requests); err != nil {
		r.Fatalf("%v", err)
	}

	if requests == "read" {
		// What mfsmaster needs it has in memory: somebody copies the disk.
		r.harm(m, "dd if=/dev/drbd0 of=/dev/null bs=1M iflag=direct 2>/dev/null || dd if=/dev/disk/by-id/virtio-replica of=/dev/null bs=1M iflag=direct || true")
	}

	return func() { r.powerCut(m) }
}

// fill leaves 4 MiB of the replica's file system. Who makes room needs it mounted.
func (r *run) fill(m *lab.Machine) (heal func()) {
	const meta = config.MetadataPath

	r.harm(m, "fallocate -l $(( $(stat -f -c '%a * %S' "+meta+") - 4194304 )) "+meta+"/fill")

	return func() {
		for _, m := range r.cluster.Machines {
			r.harm(m, "rm -f "+meta+"/fill")
		}
	}
}

// step the machine's clock. Whether it is put right nobody but the cluster sees to.
func (r *run) step(m *lab.Machine, by time.Duration) {
	r.harm(m, fmt.Sprintf("date -u -s @$(( $(date +%%s) + %d ))", int(by.Seconds())))
}

// powerCut of a machine also ends the client that is at work there.
func (r *run) powerCut(m *lab.Machine) {
	if !m.On() {
		return
	}

	r.cluster.PowerCut(m)
	r.over(m)
}

func (r *run) link(ends []*lab.Machine, both bool, rule lab.Rule) (heal func()) {
	set := func(rule lab.Rule) {
		r.cluster.Switch.Set(lab.Link{From: ends[0].Name, To: ends[1].Name}, rule)

		if both {
			r.cluster.Switch.Set(lab.Link{From: ends[1].Name, To: ends[0].Name}, rule)
		}
	}

	set(rule)

	return func() { set(lab.Rule{}) }
}

// harm types a command that is a fault. There may be nothing to harm: the machine
// is off, or the process is just being started.
func (r *run) harm(m *lab.Machine, command string) {
	if !m.On() {
		return
	}

	ctx, cancel := context.WithTimeout(r.ctx, commandTime)
	defer cancel()

	_, err := m.Console().Run(ctx, command)
	if err != nil {
		r.cluster.Say("%s: not done: %v", m.Name, err)
	}
}

// stop has the processes of a program stand still. Until they go on they may be replaced,
// or the machine reset.
func (r *run) stop(m *lab.Machine, program string) (heal func()) {
	r.harm(m, "kill -STOP $(pidof "+program+")")

	return func() { r.harm(m, "kill -CONT $(pidof "+program+") || true") }
}

func (r *run) pause(m *lab.Machine, d time.Duration) {
	if !m.On() {
		return
	}

	if err := m.Pause(); err != nil {
		r.Fatalf("%v", err)
	}

	r.pass(d)

	if err := m.Resume(); err != nil {
		r.Fatalf("%v", err)
	}
}

func (r *run) stall(m *lab.Machine) (heal func()) {
	if !m.On() {
		return func() {}
	}

	if err := m.StallDisk("replica", true); err != nil {
		r.Fatalf("%v", err)
	}

	return func() {
		// With its power it has lost the limit.
		if !m.On() {
			return
		}

		if err := m.StallDisk("replica", false); err != nil {
			r.Fatalf("%v", err)
		}
	}
}
