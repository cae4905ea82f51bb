//go:build vm

package image

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/qemu-tests/lab"
	"antler/services/node/bootconfig"
)

// timeout ends a test that waits for what never comes; it judges no time.
const timeout = 10 * time.Minute

// newNode is one machine whose disk `antlerctl flash` wrote.
func newNode(ctx context.Context, t *testing.T, loader string) (*lab.Cluster, *lab.Machine) {
	t.Helper()

	image, err := lab.OpenImage(root + "build/image")
	require.NoError(t, err)

	c, err := lab.New(ctx, lab.Options{
		Dir: root + "build/lab/image", Image: image, Agent: root + "build/lab/agent", Progress: os.Stdout,
		Nodes: 1, Loader: loader, Antlerctl: root + "build/bin/antlerctl", Seed: 1,
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Tails())
		}
	})

	return c, c.Machines[0]
}

// TestFlashedCard is the life of a card: written, started with three wrong
// configurations that it tells about, started with the right one, and again.
func TestFlashedCard(t *testing.T) {
	figures := report(t, "a card tells of three wrong configurations, serves with a right one, and keeps its secrets over a power cut")

	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()

	c, m := newNode(ctx, t, "")

	right, err := m.ReadBoot(ctx, bootconfig.File)
	require.NoError(t, err)
	require.Contains(t, right, "PRIVATE KEY", "the card has the configuration it was flashed with")

	for name, wrong := range map[string]struct{ from, to, want string }{
		"a key that is not known":     {"version: 1", "version: 1\ncolour: red", `unknown key "colour"`},
		"a value that makes no sense": {"copies: 1", "copies: 12", "cluster.storage.copies: 12 is not in 1..9"},
		"a device that is none":       {"device: /dev/disk/by-id/virtio-replica", "device: photos", `node.replica.device: "photos" is not the path of a device`},
	} {
		require.Contains(t, right, wrong.from)
		require.NoError(t, m.WriteBoot(ctx, bootconfig.File, strings.Replace(right, wrong.from, wrong.to, 1)))

		mark := m.Console().Len()
		require.NoError(t, m.PowerOn())

		_, err = m.Console().Wait(ctx, mark, func(line string) bool { return strings.Contains(line, "does nothing until that is mended") })
		require.NoError(t, err, "%s: the console says so", name)
		m.PowerCut()

		status, err := m.ReadBoot(ctx, bootconfig.StatusFile)
		require.NoError(t, err)
		require.Contains(t, status, wrong.want, name)
		c.Say("refused %s, and the card says so", name)
	}

	require.NoError(t, m.WriteBoot(ctx, bootconfig.File, right))
	begin := time.Now()
	require.NoError(t, c.PowerOn(ctx, m))
	_, err = c.AwaitServing(ctx, "")
	require.NoError(t, err)

	figures["first_boot_to_serving_s"] = seconds(begin)

	requireGrown(ctx, t, m)

	c.PowerCut(m)
	requireCleared(ctx, t, m)

	begin = time.Now()
	require.NoError(t, c.PowerOn(ctx, m))
	_, err = c.AwaitServing(ctx, "")
	require.NoError(t, err, "the node has its secrets")

	figures["boot_to_serving_s"] = seconds(begin)
}

// requireGrown fails if the state partition does not have the room of the card.
func requireGrown(ctx context.Context, t *testing.T, m *lab.Machine) {
	t.Helper()

	// In KiB; the image's own has 64 MiB, the card 3 GiB.
	_, err := m.Console().Run(ctx, `test "$(df -k /var | awk 'NR==2 {print $2}')" -gt 1500000`)
	require.NoError(t, err)
}

// requireCleared fails if the boot partition still holds a secret.
func requireCleared(ctx context.Context, t *testing.T, m *lab.Machine) {
	t.Helper()

	text, err := m.ReadBoot(ctx, bootconfig.File)
	require.NoError(t, err)
	require.NotContains(t, text, "PRIVATE KEY")
	require.Contains(t, text, "key: \""+bootconfig.Kept+"\"")

	status, err := m.ReadBoot(ctx, bootconfig.StatusFile)
	require.NoError(t, err)
	require.Contains(t, status, "is in force: this is n1 of cluster lab")
}

// requireNoKey fails if the private key is anywhere on the boot partition, in a
// removed file for example. It holds for a card as it was flashed: an editor on a
// laptop leaves copies that the node can't know of.
func requireNoKey(t *testing.T, m *lab.Machine) {
	t.Helper()

	disk, err := os.Open(m.Dir + "/system.img")
	require.NoError(t, err)

	defer disk.Close()

	boot := make([]byte, rootAt)
	_, err = disk.ReadAt(boot, 0)
	require.NoError(t, err)
	require.True(t, !bytes.Contains(boot, []byte("PRIVATE KEY")), "the private key is still on the boot partition")
}
