//go:build vm

package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	antlerv1 "antler/api/antler/v1"
	"antler/image/layout"
	"antler/image/slots"
	"antler/qemu-tests/lab"
)

// nextImage is the version to upgrade to.
const nextImage = "build/next/image/antler.img"

// TestUpgrade is one node's life with upgrades: one that loses its power halfway,
// one whose kernel finds no first program and panics, and one that works.
func TestUpgrade(t *testing.T) {
	figures := report(t, "a power cut during an upgrade, and a system that panics, leave the node with what it had; a good one stays")

	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()

	c, m := newNode(ctx, t, lab.Loader)
	node := upgraded{t: t, c: c, m: m}

	begin := time.Now()
	require.NoError(t, c.PowerOn(ctx, m))
	node.healthy(ctx)

	figures["first_boot_to_healthy_s"] = seconds(begin)

	before := node.system(ctx)
	require.Equal(t, layout.SlotA, before.GetSlot())

	node.cutWhileWriting(ctx)

	begin = time.Now()
	require.NoError(t, c.PowerOn(ctx, m))
	node.healthy(ctx)

	figures["boot_to_healthy_s"] = seconds(begin)

	require.Equal(t, before.GetRoot(), node.system(ctx).GetRoot(), "it has what it had")

	begin = time.Now()
	said, err := node.upgrade(ctx, panicking(ctx, t))
	require.Error(t, err, "%s", said)
	require.Contains(t, said, "is back in slot a with version "+before.GetVersion())

	figures["bad_upgrade_to_back_s"] = seconds(begin)

	require.NoError(t, m.ReadyAgent(ctx))
	node.healthy(ctx)

	begin = time.Now()
	said, err = node.upgrade(ctx, nextImage)
	require.NoError(t, err, "%s", said)
	require.Contains(t, said, "n1: upgraded to version "+before.GetVersion()+"-next, in slot b")

	figures["upgrade_s"] = seconds(begin)

	after := node.system(ctx)
	require.NotEqual(t, before.GetRoot(), after.GetRoot())

	m.PowerCut()

	state, err := m.ReadBoot(ctx, slots.StateFile)
	require.NoError(t, err)
	require.Equal(t, slots.State{Slot: layout.SlotB}, slots.ParseState([]byte(state)), "a power cut after it was committed starts the new one")
}

// upgraded is the node of the test.
type upgraded struct {
	t *testing.T
	c *lab.Cluster
	m *lab.Machine
}

// healthy waits until the node would be upgraded.
func (u upgraded) healthy(ctx context.Context) {
	u.t.Helper()

	_, err := u.c.AwaitServing(ctx, "")
	require.NoError(u.t, err)
	require.NoError(u.t, u.c.AwaitUpgradable(ctx, u.m.Name))
}

func (u upgraded) system(ctx context.Context) *antlerv1.GetSystemResponse {
	u.t.Helper()

	conn, err := u.c.Dial(u.m)
	require.NoError(u.t, err)

	defer conn.Close()

	system, err := antlerv1.NewNodeServiceClient(conn).GetSystem(ctx, &antlerv1.GetSystemRequest{})
	require.NoError(u.t, err)

	return system
}

func (u upgraded) command(ctx context.Context, image string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "build/bin/antlerctl", "node", "upgrade", image, "-n", u.m.Name)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "ANTLERCONFIG="+u.c.ConfigFile("admin"))

	return cmd
}

// upgrade runs antlerctl as a person does.
func (u upgraded) upgrade(ctx context.Context, image string) (string, error) {
	u.c.Say("upgrading to %s", image)

	out, err := u.command(ctx, image).CombinedOutput()
	// Each progress overwrites the last.
	said := string(out)[strings.LastIndex(string(out), "\r")+1:]
	u.c.Say("%s", strings.TrimSpace(said))

	return said, err
}

// cutWhileWriting pulls the plug when a third is written.
func (u upgraded) cutWhileWriting(ctx context.Context) {
	u.t.Helper()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	cmd := u.command(ctx, nextImage)
	output, err := cmd.StderrPipe()
	require.NoError(u.t, err)
	require.NoError(u.t, cmd.Start())

	defer func() {
		cancel()

		_ = cmd.Wait()
	}()

	progress := bufio.NewReader(output)

	for {
		line, err := progress.ReadString('\r')
		require.False(u.t, errors.Is(err, io.EOF), "it ended before a third was written: %s", line)
		require.NoError(u.t, err)

		var percent int

		if _, err = fmt.Sscanf(line, "writing %d %%", &percent); err == nil && percent >= 30 {
			u.c.PowerCut(u.m)

			return
		}
	}
}

// panicking is an image whose initrd the kernel can't unpack.
func panicking(ctx context.Context, t *testing.T) string {
	t.Helper()

	path, err := filepath.Abs(filepath.Join(t.TempDir(), "bad.img"))
	require.NoError(t, err)
	run(t, "cp", "--sparse=always", nextImage, path)
	writeBoot(ctx, t, path, layout.SlotA+"/"+slots.Initrd, []byte("this is no initrd"))

	return path
}
