//go:build vm

package talos

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	antlerv1 "antler/api/antler/v1"
	"antler/qemu-tests/lab"
	"antler/services/metadata"
	"antler/services/talos"
)

// TestANodeRunsTheService boots the machines from blank disks, each configured by
// what `antlerctl gen config --talos` writes.
func TestANodeRunsTheService(t *testing.T) {
	ctx, c, figures := begin(t, "Talos starts antlerd from the extension, and says that it runs")
	begun := time.Now()

	require.NoError(t, c.PowerOn(ctx, c.Machines...))

	figures["antlerd_runs_s"] = seconds(begun)

	for _, m := range c.Machines {
		_, err := m.Console().Wait(ctx, 0, says("service[ext-antler](Running)"))
		require.NoError(t, err, "on %s", m.Name)
	}
}

// says matches the lines of a console with the text.
func says(text string) func(string) bool {
	return func(line string) bool { return strings.Contains(line, text) }
}

func TestANodeServes(t *testing.T) {
	ctx, c, figures := begin(t, "Talos nodes become a cluster that serves, and make a volume")
	begun := time.Now()

	serving, err := c.AwaitServing(ctx, "")
	require.NoError(t, err)

	figures["serving_s"] = seconds(begun)

	require.NoError(t, c.AwaitHealthy(ctx))

	figures["healthy_s"] = seconds(begun)

	_, err = c.CreateVolume(ctx, serving, "first", 1<<30)
	require.NoError(t, err)

	suite.volumes = append(suite.volumes, "first")
}

// TestTheFenceHandlerRunsOnTheImmutableRoot: with the other replica gone, DRBD
// completes no write until the kernel has executed the handler and it has said that the
// quorum knows. So a volume that is made is the proof; the kernel names the program.
func TestTheFenceHandlerRunsOnTheImmutableRoot(t *testing.T) {
	ctx, c, _ := begin(t, "the kernel executes the fence handler on the immutable root, and writes go on")

	serving, err := c.AwaitServing(ctx, "")
	require.NoError(t, err)

	other := c.Machine(map[string]string{"n1": "n2", "n2": "n1"}[serving.Name])
	from := serving.Console().Len()
	c.PowerCut(other)

	_, err = c.CreateVolume(ctx, serving, "second", 1<<30)
	require.NoError(t, err)

	suite.volumes = append(suite.volumes, "second")

	_, err = serving.Console().Wait(ctx, from, says("helper command: "+talos.Helper+" fence-peer meta exit code 4"))
	require.NoError(t, err)

	require.NoError(t, c.PowerOn(ctx, other))
	require.NoError(t, c.AwaitSettled(ctx))
}

func TestAPowerCutOfTheServingNodeLosesNothing(t *testing.T) {
	ctx, c, figures := begin(t, "the serving node's power is cut: the other replica serves, with every acknowledged volume, and the node comes back")

	serving, err := c.AwaitServing(ctx, "")
	require.NoError(t, err)

	made := startMaking(ctx, t, c)

	made.await(ctx, t, 5)

	cut := c.PowerCut(serving)
	next, err := c.AwaitServing(ctx, serving.Name)
	require.NoError(t, err)

	figures["serving_again_s"] = seconds(cut)

	before := made.count()
	made.await(ctx, t, before+5)

	acknowledged, longest := made.stop()
	figures["acknowledged"], figures["longest_gap_s"] = len(acknowledged), longest.Round(100*time.Millisecond).Seconds()
	lost := missing(ctx, t, c, next, append(acknowledged, suite.volumes...))
	figures["lost"] = len(lost)
	require.Empty(t, lost)

	begun := time.Now()

	require.NoError(t, c.PowerOn(ctx, serving))

	figures["second_boot_s"] = seconds(begun)

	require.NoError(t, c.AwaitSettled(ctx))

	figures["healed_s"] = seconds(begun)

}

func TestANodeIsShownByTalosctl(t *testing.T) {
	ctx, c, _ := begin(t, "talosctl shows the extension, its service and its log, and DRBD among the modules")

	for _, m := range c.Machines {
		require.Regexp(t, `(?m)ext-antler +Running`, talosctl(ctx, t, m, "services"), "on %s", m.Name)
		require.Contains(t, talosctl(ctx, t, m, "get", "extensions"), "antler")
		require.Contains(t, talosctl(ctx, t, m, "logs", "ext-antler"), "node.started")
	}

	require.Regexp(t, `(?m) drbd +`, talosctl(ctx, t, c.Machines[0], "get", "loadedkernelmodules"))
}

// TestAChangedConfigurationRestartsAntlerdAlone: the master, its clients and its
// acknowledgements don't notice.
func TestAChangedConfigurationRestartsAntlerdAlone(t *testing.T) {
	ctx, c, figures := begin(t, "talosctl patch mc restarts antlerd on the serving node, and the master goes on")

	serving, err := c.AwaitServing(ctx, "")
	require.NoError(t, err)

	before := masterOf(ctx, t, c, serving)
	from := serving.Console().Len()
	made := startMaking(ctx, t, c)

	made.await(ctx, t, 3)

	begun := time.Now()

	patch, err := c.RenewTalos(serving)
	require.NoError(t, err)
	talosctl(ctx, t, serving, "patch", "mc", "--patch", "@"+patch)

	_, err = serving.Console().Wait(ctx, from, func(line string) bool {
		event, found := lab.ParseEvent(line)

		return found && event.Kind == "node.started"
	})
	require.NoError(t, err)

	figures["restarted_s"] = seconds(begun)

	made.await(ctx, t, made.count()+3)

	acknowledged, longest := made.stop()
	figures["acknowledged"], figures["longest_gap_s"] = len(acknowledged), longest.Round(100*time.Millisecond).Seconds()

	require.NoError(t, c.AwaitSettled(ctx))

	after, err := c.AwaitServing(ctx, "")
	require.NoError(t, err)
	require.Equal(t, serving.Name, after.Name, "nobody took over")
	require.Equal(t, before, masterOf(ctx, t, c, serving), "the same process serves")
	require.Empty(t, missing(ctx, t, c, serving, acknowledged))
}

// TestAnUpgradeNodeByNode: each node is shut down by Talos, as its upgrade does, and
// boots the next version. The serving node comes last, and is not asked to hand over
// first: Talos's word that the node goes down must be enough.
func TestAnUpgradeNodeByNode(t *testing.T) {
	ctx, c, figures := begin(t, "node by node gets a newer extension, with the service up and nothing lost")

	serving, err := c.AwaitServing(ctx, "")
	require.NoError(t, err)

	made := startMaking(ctx, t, c)

	for _, name := range append(c.Others(serving), serving.Name) {
		m := c.Machine(name)

		made.await(ctx, t, made.count()+3)

		figures[name+"_stop_s"] = shutDown(ctx, t, m)

		require.NoError(t, m.UpgradeTalos())

		begun := time.Now()

		require.NoError(t, c.PowerOn(ctx, m))
		require.NoError(t, c.AwaitSettled(ctx))

		figures[name+"_back_s"] = seconds(begun)

		require.Regexp(t, `antler .*-next`, talosctl(ctx, t, m, "get", "extensions"))
	}

	made.await(ctx, t, made.count()+3)

	acknowledged, longest := made.stop()
	figures["acknowledged"], figures["longest_gap_s"] = len(acknowledged), longest.Round(100*time.Millisecond).Seconds()

	next, err := c.AwaitServing(ctx, serving.Name)
	require.NoError(t, err)

	status, err := c.Status(ctx)
	require.NoError(t, err)

	for _, node := range status.GetNodes() {
		require.Regexp(t, "-next$", node.GetVersion(), "antlerd on %s", node.GetName())
	}

	lost := missing(ctx, t, c, next, append(acknowledged, suite.volumes...))
	figures["lost"] = len(lost)
	require.Empty(t, lost)
}

// shutDown has Talos shut the machine down, and returns how long its service took to
// stop, in seconds: Talos gives it 10. No Kubernetes is reached from here, so there is
// nothing to be drained.
func shutDown(ctx context.Context, t *testing.T, m *lab.Machine) float64 {
	t.Helper()

	from := m.Console().Len()

	talosctl(ctx, t, m, "shutdown", "--force", "--wait=false")

	begun, err := m.Console().Wait(ctx, from, says("service[ext-antler](Stopping)"))
	require.NoError(t, err)

	ended, err := m.Console().Wait(ctx, from, says("service[ext-antler](Finished)"))
	require.NoError(t, err)
	require.NoError(t, m.AwaitOff(ctx))

	return ended.At.Sub(begun.At).Round(100 * time.Millisecond).Seconds()
}

// masterOf is the process that mfsmaster is.
func masterOf(ctx context.Context, t *testing.T, c *lab.Cluster, m *lab.Machine) int32 {
	t.Helper()

	conn, err := c.Dial(m)
	require.NoError(t, err)

	defer conn.Close()

	response, err := antlerv1.NewNodeServiceClient(conn).ListServices(ctx, &antlerv1.ListServicesRequest{})
	require.NoError(t, err)

	for _, service := range response.GetServices() {
		if service.GetName() == metadata.Container {
			require.True(t, service.GetRunning())

			return service.GetPid()
		}
	}

	t.Fatalf("%s has no master: %v", m.Name, response)

	return 0
}
