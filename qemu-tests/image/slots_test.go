//go:build vm

package image

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/image/layout"
	"antler/image/slots"
	"antler/qemu-tests/lab"
)

// TestBootLoaderChooses compares the boot loader's script with the decision as it
// is written in Go, for every state and for states that make no sense.
func TestBootLoaderChooses(t *testing.T) {
	report(t, "the boot loader decides as slots.Choose does")

	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()

	disk := entriesWithoutKernels(ctx, t)

	for _, state := range [][]byte{
		slots.State{Slot: layout.SlotA}.Bytes(), slots.State{Slot: layout.SlotB}.Bytes(),
		slots.State{Slot: layout.SlotA, Try: layout.SlotB}.Bytes(), slots.State{Slot: layout.SlotB, Try: layout.SlotA}.Bytes(),
		make([]byte, slots.StateSize), []byte("slot=c\ntry=d\n"), []byte("slot=b\ntry=b\n"),
	} {
		writeBoot(ctx, t, disk, slots.StateFile, state)

		want := slots.Choose(slots.ParseState(state))

		var lines []string

		for _, slot := range want.Order {
			trial := want.Trial
			if trial == "" {
				trial = "none"
			}

			lines = append(lines, fmt.Sprintf("looking at slot %s, trial %s", slot, trial))
		}

		require.Equal(t, lines, choices(ctx, t, disk), "%q", state)

		after, err := exec.CommandContext(ctx, "mtype", "-i", disk+"@@1M", "::"+slots.StateFile).Output()
		require.NoError(t, err)
		require.Equal(t, want.Next, slots.ParseState(after), "what the next start finds, after %q", state)
	}
}

// entriesWithoutKernels is the image with nothing to start in either slot, so that
// the boot loader looks at both.
func entriesWithoutKernels(ctx context.Context, t *testing.T) string {
	t.Helper()

	disk := filepath.Join(t.TempDir(), "disk")
	run(t, "cp", "--sparse=always", "build/image/antler.img", disk)

	writeBoot(ctx, t, disk, layout.SlotB+"/"+slots.EntryFile, slots.Entry("quiet"))
	run(t, "mdel", "-i", disk+"@@1M", "::"+layout.SlotA+"/"+slots.Kernel)

	return disk
}

func writeBoot(ctx context.Context, t *testing.T, disk, name string, content []byte) {
	t.Helper()

	cmd := exec.CommandContext(ctx, "mcopy", "-o", "-i", disk+"@@1M", "-", "::"+name)
	cmd.Stdin = strings.NewReader(string(content))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// choices starts the boot loader and returns what it says of slots until it gives
// up.
func choices(ctx context.Context, t *testing.T, disk string) []string {
	t.Helper()

	socket := filepath.Join(t.TempDir(), "console")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)

	defer listener.Close()

	qemu := exec.CommandContext(ctx, "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-m", "256", "-nodefaults", "-display", "none",
		"-bios", lab.Loader, "-drive", "if=none,id=disk,format=raw,cache=unsafe,file="+disk, "-device", "virtio-blk-pci,drive=disk",
		"-chardev", "socket,id=console,path="+socket, "-serial", "chardev:console")
	qemu.Stderr = os.Stderr
	qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, qemu.Start())

	defer func() {
		_ = qemu.Process.Kill()
		_ = qemu.Wait()
	}()

	conn, err := listener.Accept()
	require.NoError(t, err)

	defer conn.Close()

	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))

	var said strings.Builder

	buffer := make([]byte, 4096)

	for !strings.Contains(said.String(), "no slot holds a system that starts") {
		n, err := conn.Read(buffer)
		require.NoError(t, err, "%s", said.String())
		said.Write(buffer[:n])
	}

	var lines []string
	for _, match := range regexp.MustCompile(`antler: (looking at slot [^\r\n]*)`).FindAllStringSubmatch(said.String(), -1) {
		lines = append(lines, match[1])
	}

	return lines
}

// TestBootLoaderStartsTheCard starts a node with nothing but its disk.
func TestBootLoaderStartsTheCard(t *testing.T) {
	figures := report(t, "the boot loader starts the image from its boot partition")

	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()

	c, m := newNode(ctx, t, lab.Loader)
	begin := time.Now()
	require.NoError(t, c.PowerOn(ctx, m))

	figures["boot_to_antlerd_s"] = seconds(begin)

	cmdline, err := m.Console().Run(ctx, "cat /proc/cmdline")
	require.NoError(t, err)
	require.Equal(t, slots.Started{Slot: layout.SlotA, Loader: true}, slots.ParseStarted(cmdline))
}
