package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
	"antler/services/kubernetes"
	"antler/services/moosefs"
	"antler/services/node"
	"antler/services/node/config"
)

// healthySnapshot is n1's view of a cluster that it serves in epoch 5.
func healthySnapshot(t *testing.T) snapshot {
	t.Helper()

	cfg := newCluster(t).files.Nodes[0]
	out := snapshot{
		cluster: cfg.Cluster, self: "n1", now: testTime(), since: testTime().Add(-time.Hour),
		authority: healthyAuthority("n1", "n1", 5),
		reports:   map[string]authority.NodeReportSpec{},
	}

	for _, name := range []string{"n1", "n2", "n3"} {
		out.reports[name] = authority.NodeReportSpec{Alive: true, LastSeen: testTime(), Report: healthyReport(name, "n1", 5)}
	}

	out.change("n1", func(r *authority.NodeReportSpec) { r.Report.Addresses = []string{"10.5.0.250/24"} })

	return out
}

func (s snapshot) change(node string, change func(*authority.NodeReportSpec)) {
	report := s.reports[node]
	change(&report)
	s.reports[node] = report
}

func TestProblems(t *testing.T) {
	base := healthySnapshot(t)

	for _, tc := range []struct {
		name   string
		change func(*snapshot)
		health antlerv1.Health
		// want is summary -> advice of each problem, in order.
		want [][2]string
	}{
		{"none", func(*snapshot) {}, antlerv1.Health_HEALTH_OK, nil},
		{"a node is down", func(s *snapshot) {
			s.change("n3", func(r *authority.NodeReportSpec) { r.Alive = false })
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"n3 was not heard of since 2026-03-01T12:00:00Z", "look at its power, its console and its network; it comes back by itself"},
		}},
		{"a standby without the floating address's network", func(s *snapshot) {
			s.change("n2", func(r *authority.NodeReportSpec) { r.Report.AddressError = "10.5.0.250 is outside every local network" })
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"the floating address on n2: 10.5.0.250 is outside every local network", ""},
		}},
		{"clocks that may differ", func(s *snapshot) {
			s.change("n2", func(r *authority.NodeReportSpec) { r.Report.ClockAhead = 5 * time.Minute })
			s.change("n3", func(r *authority.NodeReportSpec) { r.Report.ClockAhead = -2 * time.Second })
		}, antlerv1.Health_HEALTH_OK, nil},
		{"clocks that differ", func(s *snapshot) {
			s.change("n2", func(r *authority.NodeReportSpec) { r.Report.ClockAhead = -time.Hour })
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"the clocks of n2 and n1, which serves, differ by 1h0m0s", "give both the time by NTP: a node that nothing tells the time follows the one that serves, but is never put back; " +
				"after a failover to a node whose clock is behind, what was written since can't be written to for as long"},
		}},
		{"the replica fills", func(s *snapshot) {
			s.change("n1", func(r *authority.NodeReportSpec) { r.Report.Master.ReplicaFree = 40 << 20 })
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"the replica's file system has 40 MiB left", "see below /var/lib/antler/meta/replica what doesn't belong there; with less than 8 MiB the master is stopped"},
		}},
		{"a node is dead", func(s *snapshot) {
			s.cluster.Kubernetes.DeadNode.Release = true
			s.authority.Guards = map[string]authority.Guard{"n1": {TTLMS: 1}, "n2": {}, "n3": {TTLMS: 1, Dead: true}}
			s.change("n3", func(r *authority.NodeReportSpec) { r.Alive = false })
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"n3 was not heard of since 2026-03-01T12:00:00Z, and surely is without power or was reset: its volumes are free for other nodes",
				"look at its power, its console and its network; it comes back by itself"},
			{"n2 has not promised to reset itself: should it die, it keeps its volumes",
				"it does so within seconds of antlerd's start; if not, look whether it has a watchdog (/dev/watchdog) that is quick enough, which antlerd's log there says, and whether antlerd is of the same version on all voters"},
		}},
		{"no answer from Kubernetes", func(s *snapshot) {
			s.provisioner = &kubernetes.ProvisionerStatusSpec{Phase: kubernetes.ProvisionerConnecting, Error: "kubeconfig /k: is not there"}
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"Kubernetes's claims are not provisioned: kubeconfig /k: is not there",
				"it is tried again by itself; `antlerctl get provisioner -n n1` shows how far it is"},
		}},
		{"no right to see VolumeSnapshots", func(s *snapshot) {
			s.provisioner = &kubernetes.ProvisionerStatusSpec{Phase: kubernetes.ProvisionerWorking, SnapshotsError: "it is forbidden"}
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"Kubernetes's VolumeSnapshots are not taken: it is forbidden",
				"it is tried again by itself; `antlerctl get provisioner -n n1` shows how far it is"},
		}},
		{"no k3s in the image", func(s *snapshot) {
			s.k3s = &node.K3sStatusSpec{Role: config.K3sServer, Error: "this image was built without k3s"}
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"k3s does not run on n1: this image was built without k3s", "upgrade the node to an image that was built with k3s, or remove k3s from its configuration"},
		}},
		{"k3s", func(s *snapshot) { s.k3s = &node.K3sStatusSpec{Role: config.K3sServer} }, antlerv1.Health_HEALTH_OK, nil},
		{"the first backup failed", func(s *snapshot) { s.backup.Error = "the disk is full" }, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"no backup of the metadata is being made on n1: the disk is full", "there is none on this node yet; it is tried again by itself within minutes"},
		}},
		{"a later backup failed", func(s *snapshot) {
			s.backup.Error, s.backup.Last = "the disk is full", testTime().Add(-time.Hour)
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"no backup of the metadata is being made on n1: the disk is full", "the last one there is of 2026-03-01T11:00:00Z; it is tried again by itself within minutes"},
		}},
		{"resynchronising", func(s *snapshot) {
			s.authority.UpToDate = []string{"n1"}
			s.change("n2", func(r *authority.NodeReportSpec) {
				r.Report.Replica.Disk, r.Report.Replica.Connection, r.Report.Replica.SyncPercent = "Inconsistent", "Connected", 45
			})
			// The side that it comes from counts as well, and lacks nothing.
			s.change("n1", func(r *authority.NodeReportSpec) { r.Report.Replica.SyncPercent = 45 })
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"the replica on n2 is being made equal, 45 % are done", "wait: until then only one replica holds everything"},
		}},
		{"outdated", func(s *snapshot) {
			s.authority.UpToDate = []string{"n1"}
			s.change("n2", func(r *authority.NodeReportSpec) {
				r.Report.Replica.Disk, r.Report.Replica.Connection = "Outdated", "Connecting"
			})
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"the replica on n2 lacks acknowledged writes (disk Outdated, connection Connecting)", "it catches up by itself when it reaches its peer (TCP port 7789)"},
		}},
		{"a used disk", func(s *snapshot) {
			s.change("n2", func(r *authority.NodeReportSpec) {
				r.Report.Replica = authority.ReplicaReport{Phase: "refused", Error: "/dev/vdb holds ext4: use a blank disk, or wipe it with wipefs -a"}
			})
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"the replica on n2: /dev/vdb holds ext4: use a blank disk, or wipe it with wipefs -a", ""},
		}},
		{"a service is down", func(s *snapshot) {
			s.change("n3", func(r *authority.NodeReportSpec) { r.Report.Services["chunkserver"] = "ended with exit code 1" })
			s.change("n1", func(r *authority.NodeReportSpec) { r.Report.Master.Chunkservers = 2 })
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"chunkserver does not run on n3: ended with exit code 1", "it is started again by itself; `antlerctl logs chunkserver -n n3` says why it ended"},
			{"2 of 3 chunkservers are connected", "see which node is down, or `antlerctl logs mfschunkserver -n NODE`"},
		}},
		{"space is low", func(s *snapshot) {
			s.change("n1", func(r *authority.NodeReportSpec) { r.Report.Master.FreeSpace = r.Report.Master.TotalSpace / 20 })
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"5 % of the space are free", "delete what is not needed, or add a chunkserver"},
		}},
		{"nobody holds", func(s *snapshot) {
			s.authority.Holder, s.authority.Reason = "", "n2 has every acknowledged write and is down: start it"
		}, antlerv1.Health_HEALTH_DOWN, [][2]string{
			{"nobody serves", "n2 has every acknowledged write and is down: start it"},
		}},
		{"who holds is dead, and the other may not", func(s *snapshot) {
			s.change("n1", func(r *authority.NodeReportSpec) { r.Alive = false })
			s.authority.Reason = "nobody can serve: n2 lacks acknowledged writes"
		}, antlerv1.Health_HEALTH_DOWN, [][2]string{
			{"nobody serves: n1 holds epoch 5 and is not heard of", "nobody can serve: n2 lacks acknowledged writes"},
			{"n1 was not heard of since 2026-03-01T12:00:00Z", "look at its power, its console and its network; it comes back by itself"},
		}},
		{"taking over", func(s *snapshot) {
			s.change("n1", func(r *authority.NodeReportSpec) { r.Report.Master.Phase = "mounting" })
		}, antlerv1.Health_HEALTH_DOWN, [][2]string{
			{"nobody serves yet: n1 takes over, in epoch 5 (mounting)", "wait; `antlerctl events -f` shows the takeover"},
		}},
		{"asked to hand over", func(s *snapshot) { s.authority.Target = "n2" }, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"a switchover is under way: the master moves from n1 to n2", "wait; `antlerctl events -f` shows the takeover"},
		}},
		{"handing over", func(s *snapshot) {
			s.authority.Target, s.authority.Holder = "n2", ""
		}, antlerv1.Health_HEALTH_DOWN, [][2]string{
			{"nobody serves for a moment: a switchover to n2 is under way", "wait; `antlerctl events -f` shows the takeover"},
		}},
		{"handing over to one that died", func(s *snapshot) {
			s.authority.Target, s.authority.Holder = "n2", ""
			s.change("n2", func(r *authority.NodeReportSpec) { r.Alive = false })
			s.authority.Reason = "nobody can serve: n2 is not reachable"
		}, antlerv1.Health_HEALTH_DOWN, [][2]string{
			{"nobody serves", "nobody can serve: n2 is not reachable"},
			{"n2 was not heard of since 2026-03-01T12:00:00Z", "look at its power, its console and its network; it comes back by itself"},
		}},
		{"handing over to one that lacks writes", func(s *snapshot) {
			s.authority.Target, s.authority.Reason = "n2", "nobody can serve: n2 lacks acknowledged writes"
			s.change("n1", func(r *authority.NodeReportSpec) { r.Report.Master.Phase = "stopping" })
		}, antlerv1.Health_HEALTH_DOWN, [][2]string{
			{"nobody serves yet: n1 takes over, in epoch 5 (stopping)", "nobody can serve: n2 lacks acknowledged writes"},
		}},
		{"who was to hand over died", func(s *snapshot) {
			s.authority.Target = "n2"
			s.change("n1", func(r *authority.NodeReportSpec) { r.Alive = false })
		}, antlerv1.Health_HEALTH_DOWN, [][2]string{
			{"nobody serves: n1 holds epoch 5 and is not heard of", "wait; `antlerctl events -f` shows the takeover"},
			{"n1 was not heard of since 2026-03-01T12:00:00Z", "look at its power, its console and its network; it comes back by itself"},
		}},
		{"a moment after a takeover", func(s *snapshot) {
			s.since = s.now.Add(-3 * time.Second)
			s.change("n1", func(r *authority.NodeReportSpec) { r.Report.Master.Chunkservers, r.Report.Addresses = 1, nil })
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"n1 took over 3 s ago, and 1 of 3 chunkservers are back so far", "wait: they come back by themselves within seconds"},
			{"n1 takes over, and the floating address is not there yet", "wait: it comes within seconds"},
		}},
		{"a master of an older epoch", func(s *snapshot) {
			s.authority.Epoch = 6
		}, antlerv1.Health_HEALTH_DOWN, [][2]string{
			{"nobody serves yet: n1 takes over, in epoch 6 (waiting for the replica)", "wait; `antlerctl events -f` shows the takeover"},
		}},
		{"cannot serve", func(s *snapshot) {
			s.change("n1", func(r *authority.NodeReportSpec) {
				r.Report.Master.Phase, r.Report.Master.Error = "failed", "fsck found errors: look at the log"
			})
		}, antlerv1.Health_HEALTH_DOWN, [][2]string{
			{"n1 holds epoch 5 and cannot serve", "fsck found errors: look at the log"},
		}},
		{"no quorum", func(s *snapshot) {
			s.authority.HaveQuorum = false
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"n1 hears from no leader of the quorum, so what it shows may be old",
				"start n2 and n3, or repair the network to them (TCP port 9441); service goes on by itself when a majority of the voters is there"},
		}},
		{"data is lost or nearly so", func(s *snapshot) {
			s.storage.Missing, s.storage.Endangered = 3, 7
			s.change("n1", func(r *authority.NodeReportSpec) { r.Report.Master.Chunkservers = 2 })
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"2 of 3 chunkservers are connected", "see which node is down, or `antlerctl logs mfschunkserver -n NODE`"},
			{"3 chunks have no copy: the files they belong to can't be read whole", "bring back the chunkservers that are down, before anything else"},
			{"7 chunks have one copy left of several", "bring back the chunkservers that are down; MooseFS makes the copies again by itself"},
		}},
		{"chunks that nobody has", func(s *snapshot) {
			s.storage.Missing = 1
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"1 chunks have no copy, though all chunkservers are there", "if mfsmaster was killed within the last hour, these are chunks that it was changing then, which can be read again a minute or two after its start, or had promised and nobody had written to, which go within the hour; if it was not, or they stay, a disk has lost them: bring it back"},
		}},
		{"what only the node knows", func(s *snapshot) {
			s.stores = map[string]moosefs.ChunkStoreStatusSpec{"0": {Configured: "/dev/vdc", Error: "it holds ntfs: use a blank disk"}}
			s.modules = map[string]node.ModuleStatusSpec{"fuse": {Loaded: true}, "drbd": {Error: "not found"}}
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"the chunk store /dev/vdc on n1: it holds ntfs: use a blank disk", ""},
			{"the kernel module drbd is missing on n1: not found", "install the kernel's modules there"},
		}},
		{"errors come before warnings", func(s *snapshot) {
			s.cluster.Storage.Durability = config.DurabilityLoseSecondsOnPowerCut
			s.certificateEnds = testTime().AddDate(0, 0, 20)
			s.authority.Error = "the Raft store is damaged"
		}, antlerv1.Health_HEALTH_DEGRADED, [][2]string{
			{"the Raft store is damaged", ""},
			{"a power cut loses seconds of acknowledged operations, as configured", "set storage.durability to safe in the cluster file"},
			{"the certificate of n1 ends on 2026-03-21", "run `antlerctl gen config` again and give the nodes their new files"},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := base
			s.reports = map[string]authority.NodeReportSpec{}

			for name, report := range base.reports {
				s.reports[name] = report.DeepCopy()
			}

			tc.change(&s)

			status := s.status()

			var got [][2]string
			for _, problem := range status.Problems {
				got = append(got, [2]string{problem.Summary, problem.Advice})

				require.Regexp(t, `^[A-Z][A-Z0-9_]+$`, problem.Reason, problem.Summary)
			}

			require.Equal(t, tc.want, got)
			require.Equal(t, tc.health, status.Health)
		})
	}
}

// A node that is cut off from the one that serves has only what the quorum told it.
func TestStatusByANodeThatDoesNotServe(t *testing.T) {
	view := healthySnapshot(t)
	view.self, view.since = "n3", time.Time{}

	status := view.status()

	require.Equal(t, "n1", status.Serving.Node)
	require.Equal(t, "serving", status.Serving.Phase)
	require.Equal(t, []string{"10.5.0.250/24"}, status.Serving.Addresses)
	require.Nil(t, status.Serving.Since)
}

func TestStatusOfAHealthyCluster(t *testing.T) {
	status := healthySnapshot(t).status()

	require.Equal(t, "n1", status.Serving.Node)
	require.Equal(t, testTime().Add(-time.Hour), status.Serving.Since.AsTime())
	require.Equal(t, []string{"10.5.0.250/24"}, status.Serving.Addresses)
	require.Equal(t, uint32(3), status.Authority.Voters)
	require.Equal(t, uint32(3), status.Authority.VotersAlive)
	require.Equal(t, uint32(3), status.Space.ChunkserversExpected)
	require.True(t, status.Nodes[0].Serving)
	require.True(t, status.Nodes[2].Leader)
	require.True(t, status.Nodes[1].Replica.UpToDate)
	require.Nil(t, status.Nodes[2].Replica)
}

// A node that was cut off gives the answer of one that was not.
func TestStatusIsAskedWhereItIsKnown(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)
	c.node("n1").events.Emit("metadata.master-answering", 5, "")

	cut := healthyAuthority("n3", "n2", 4)
	cut.HaveQuorum = false
	c.authorityIs("n3", cut)

	status, err := getStatus(t.Context(), c.dial("n3", c.files.Reader))
	require.NoError(t, err)
	require.Equal(t, "n1", status.AnsweredBy)
	require.Equal(t, uint64(5), status.Serving.Epoch)

	// Since when, only the serving node knows.
	status, err = getStatus(t.Context(), c.dial("n2", c.files.Reader))
	require.NoError(t, err)
	require.Equal(t, "n2", status.AnsweredBy)
	require.NotNil(t, status.Serving.Since)
}

// What only n3 knows of itself is in the answer of n1.
func TestStatusHasEveryNodesOwnProblems(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)

	broken := node.NewModuleStatus("fuse")
	broken.TypedSpec().Error = "not found"
	c.put(c.node("n3"), broken)

	status, err := getStatus(t.Context(), c.dial("n1", c.files.Reader))
	require.NoError(t, err)
	require.Equal(t, antlerv1.Health_HEALTH_DEGRADED, status.Health)
	require.Len(t, status.Problems, 1)
	require.Equal(t, "the kernel module fuse is missing on n3: not found", status.Problems[0].Summary)
}

// What is on its way back after a takeover is not called lost by those who don't serve.
func TestWhoServesTellsWhatConcernsAll(t *testing.T) {
	serving := healthySnapshot(t)
	serving.since = serving.now.Add(-2 * time.Second)
	serving.change("n1", func(r *authority.NodeReportSpec) { r.Report.Master.Chunkservers = 2 })

	asked := serving
	asked.self, asked.since = "n3", time.Time{}

	status := asked.status()
	require.Equal(t, "2 of 3 chunkservers are connected", status.Problems[0].Summary)

	take(status, serving.status())
	require.Len(t, status.Problems, 1)
	require.Equal(t, "n1 took over 2 s ago, and 2 of 3 chunkservers are back so far", status.Problems[0].Summary)
}

// A program compares two answers: what counts up in a summary makes no new problem.
func TestAProblemStaysTheSameWhileItsNumbersChange(t *testing.T) {
	same := func(one, other func(*snapshot)) {
		t.Helper()

		var seen [2]*antlerv1.Problem

		for i, change := range []func(*snapshot){one, other} {
			s := healthySnapshot(t)
			change(&s)

			problems := s.problems()
			require.Len(t, problems, 1)
			seen[i] = problems[0]
		}

		require.NotEqual(t, seen[0].Summary, seen[1].Summary)
		require.Equal(t, [3]string{seen[0].Reason, seen[0].Node, seen[0].Subject}, [3]string{seen[1].Reason, seen[1].Node, seen[1].Subject})
	}

	back := func(ago time.Duration, count int) func(*snapshot) {
		return func(s *snapshot) {
			s.since = s.now.Add(-ago)
			s.change("n1", func(r *authority.NodeReportSpec) { r.Report.Master.Chunkservers = count })
		}
	}
	same(back(2*time.Second, 1), back(3*time.Second, 2))

	synced := func(percent float64) func(*snapshot) {
		return func(s *snapshot) {
			s.change("n2", func(r *authority.NodeReportSpec) {
				r.Report.Replica.Disk, r.Report.Replica.SyncPercent = "Inconsistent", percent
			})
		}
	}
	same(synced(20), synced(45))

	free := func(part uint64) func(*snapshot) {
		return func(s *snapshot) {
			s.change("n1", func(r *authority.NodeReportSpec) { r.Report.Master.FreeSpace = r.Report.Master.TotalSpace / part })
		}
	}
	same(free(20), free(50))
}

// One more of them is another problem.
func TestProblemsOfOneReasonAreToldApart(t *testing.T) {
	s := healthySnapshot(t)
	s.modules = map[string]node.ModuleStatusSpec{"fuse": {Error: "not found"}, "drbd": {Error: "not found"}}

	problems := s.problems()
	require.Len(t, problems, 2)
	require.Equal(t, problems[0].Reason, problems[1].Reason)
	require.NotEqual(t, problems[0].Subject, problems[1].Subject)
}
