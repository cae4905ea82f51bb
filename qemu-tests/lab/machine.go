package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"antler/services/node/config"
)

// Machine is a virtual machine: a QEMU process and what survives it.
type Machine struct {
	Name string
	// Dir holds its disks, sockets and console log.
	Dir string
	// APIPort on 127.0.0.1 is forwarded to the guest's API, by a network of its
	// own that the Switch can't cut.
	APIPort int
	// TalosPort is forwarded to Talos's API in the same way; 0 where there is none.
	TalosPort int
	// Forwarded are the ports on 127.0.0.1 that lead to Options.Forwards, in the same way.
	Forwarded map[int]int
	// NoClock: its board has no clock that goes on without power. Each start is in the past.
	NoClock bool

	image     Image
	loader    string
	index     int
	disks     []disk
	toolsD    string
	reachHost bool
	memory    int
	replica   int64

	qemu    *exec.Cmd
	exited  chan struct{}
	console *Console
	records *recordPort
}

// Loader is U-Boot for QEMU's virt, of Debian's u-boot-qemu: it reads the boot
// partition of the first disk, as that of a board does.
const Loader = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"

// Image is what `make image` built.
type Image struct {
	Disk, Kernel, Initrd string
	// Cmdline is the kernel's.
	Cmdline string
	// talos has no Disk: a machine boots from the initrd alone.
	talos bool
}

// OpenImage returns the image in dir.
func OpenImage(dir string) (Image, error) {
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return Image{}, fmt.Errorf("open the image: %w: run `make image` first", err)
	}

	return Image{
		Disk:    filepath.Join(dir, "antler.img"),
		Kernel:  filepath.Join(dir, "vmlinuz"),
		Initrd:  filepath.Join(dir, "initrd.img"),
		Cmdline: strings.TrimSpace(string(cmdline)),
	}, nil
}

// disk is one drive of a machine.
type disk struct {
	file, serial, cache string
	readOnly            bool
}

// Sizes of a machine. Two of three guests are mostly idle, so one virtual
// processor each is quicker on two real ones than two.
const (
	// An empty mfsmaster alone takes some 300 MiB.
	memoryMiB = 1536
	// The image's state partition grows to the disk on the first boot.
	systemSize = 3 << 30
	// ReplicaSize is that of the disks for replicas, in bytes.
	ReplicaSize = 512 << 20
	chunks      = 4 << 30
	// bootOffset is where the image's FAT partition begins, see image/disk.go.
	bootOffset = 1 << 20
)

// flash makes the machine's disks: the image with its configuration, and blank
// ones. With antlerctl the image is written as a person does it.
func (m *Machine) flash(ctx context.Context, configFile, antlerctl string, withReplica bool) error {
	system := m.system()
	commands := [][]string{
		{"cp", "--sparse=always", "--reflink=auto", m.image.Disk, system},
		{"truncate", "-s", strconv.Itoa(systemSize), system},
		{"mcopy", "-o", "-i", m.boot(), configFile, "::antler.yaml"},
	}

	if antlerctl != "" {
		commands = [][]string{{antlerctl, "flash", m.image.Disk, system, "--node-config", configFile, "--size", strconv.Itoa(systemSize)}}
	}

	if m.image.talos {
		commands = nil

		err := m.flashTalos(ctx, configFile)
		if err != nil {
			return err
		}
	}

	for _, command := range commands {
		output, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("flash %s: %s: %w: %s", m.Name, command[0], err, output)
		}
	}

	// Unsafe means that a flush isn't passed on to the host's disk. A power cut
	// here takes the guest's memory and leaves what reached the virtual disk,
	// flushed or not: so a flush would show nothing, and cost the host's time.
	m.disks = []disk{
		{file: system, serial: "system", cache: "unsafe"},
		{file: filepath.Join(m.Dir, "chunks.img"), serial: "chunks", cache: "unsafe"},
	}
	sizes := map[string]int64{"chunks.img": chunks}

	if withReplica {
		m.disks = append(m.disks, disk{file: filepath.Join(m.Dir, "replica.img"), serial: "replica", cache: "unsafe"})
		sizes["replica.img"] = m.replica
	}

	for name, size := range sizes {
		err := blank(filepath.Join(m.Dir, name), size)
		if err != nil {
			return fmt.Errorf("make disk of %s: %w", m.Name, err)
		}
	}

	return nil
}

func (m *Machine) system() string { return filepath.Join(m.Dir, "system.img") }

// boot is how mtools name the boot partition.
func (m *Machine) boot() string { return fmt.Sprintf("%s@@%d", m.system(), bootOffset) }

// ReadBoot returns a file of the boot partition, as a laptop sees it that the
// card of a machine without power was put into.
func (m *Machine) ReadBoot(ctx context.Context, name string) (string, error) {
	output, err := exec.CommandContext(ctx, "mtype", "-i", m.boot(), "::"+name).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("read %s of %s: %w: %s", name, m.Name, err, output)
	}

	return string(output), nil
}

// WriteBoot puts a file on the boot partition of a machine without power.
func (m *Machine) WriteBoot(ctx context.Context, name, content string) error {
	cmd := exec.CommandContext(ctx, "mcopy", "-o", "-i", m.boot(), "-", "::"+name)
	cmd.Stdin = strings.NewReader(content)

	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("write %s of %s: %w: %s", name, m.Name, err, output)
	}

	return nil
}

func blank(path string, size int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()

	return file.Truncate(size)
}

// PowerOn starts the machine with the disks as they are.
func (m *Machine) PowerOn() error {
	for _, name := range []string{"console.sock", "records.sock", "qmp.sock"} {
		_ = os.Remove(filepath.Join(m.Dir, name))
	}

	log, err := os.OpenFile(filepath.Join(m.Dir, "qemu.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()

	cmd := exec.Command("qemu-system-aarch64", m.arguments()...)
	cmd.Stdout, cmd.Stderr = log, log
	// A Ctrl-C at the terminal is for the lab, which ends its machines itself.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	started, exited := make(chan error), make(chan struct{})
	m.qemu, m.exited = cmd, exited

	go func() {
		// Pdeathsig counts from the end of the thread that started QEMU, which
		// so must live as long as the lab.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()

		err := cmd.Start()
		started <- err

		if err == nil {
			_ = cmd.Wait()
		}

		close(exited)
	}()

	if err = <-started; err != nil {
		return fmt.Errorf("start QEMU for %s: %w", m.Name, err)
	}

	return m.connect()
}

func (m *Machine) connect() error {
	deadline := time.Now().Add(30 * time.Second)

	console, err := dialUntil(filepath.Join(m.Dir, "console.sock"), deadline, m.exited)
	if err != nil {
		return fmt.Errorf("connect to the console of %s: %w (see %s)", m.Name, err, filepath.Join(m.Dir, "qemu.log"))
	}

	records, err := dialUntil(filepath.Join(m.Dir, "records.sock"), deadline, m.exited)
	if err != nil {
		return fmt.Errorf("connect to the records of %s: %w", m.Name, err)
	}

	m.console.attach(console)
	m.records.attach(records)

	return nil
}

// board is the emulated one. It gives its kernel no seed for KASLR, like a board
// whose firmware has none to give: with one the kernel isolates its page tables
// (KPTI), and the emulator forgets its translations at each system call.
const board = "virt,gic-version=3,dtb-randomness=off"

func (m *Machine) arguments() []string {
	path := func(name string) string { return filepath.Join(m.Dir, name) }

	clock := "utc"
	if m.NoClock {
		clock = "2025-06-01" // systemd puts that forward to the day on which it was built
	}

	restrict := "on"
	if m.reachHost {
		restrict = "off"
	}

	arguments := []string{
		"-M", board, "-cpu", "cortex-a72", "-accel", "tcg,thread=multi", "-smp", "1", "-m", strconv.Itoa(m.memory),
		// A machine has its memory from the start: it doesn't get it page by page
		// from a host when something is first started.
		"-object", fmt.Sprintf("memory-backend-ram,id=ram,size=%dM,prealloc=on", m.memory), "-machine", "memory-backend=ram",
		"-nodefaults", "-display", "none", "-rtc", "base=" + clock,
		"-netdev", "stream,id=cluster,server=off,addr.type=unix,addr.path=" + path("network.sock"),
		"-device", "virtio-net-pci,romfile=,netdev=cluster,mac=" + mac(m.index),
		"-netdev", "user,id=access,restrict=" + restrict + m.forwards(),
		"-device", "virtio-net-pci,romfile=,netdev=access,mac=" + accessMAC(m.index),
		"-device", "virtio-rng-pci",
		"-device", "i6300esb", "-action", "watchdog=reset",
		"-chardev", "socket,id=console,server=on,wait=off,path=" + path("console.sock") + ",logappend=on,logfile=" + path("console.log"),
		"-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=records,server=on,wait=off,path=" + path("records.sock"),
		"-device", "virtserialport,chardev=records,name=antler.lab",
		"-qmp", "unix:" + path("qmp.sock") + ",server=on,wait=off",
	}

	if os.Getenv("LAB_PCAP") != "" {
		arguments = append(arguments, "-object", "filter-dump,id=dump,netdev=cluster,file="+path("cluster.pcap"))
	}

	if m.loader != "" {
		arguments = append(arguments, "-bios", m.loader)
	} else {
		arguments = append(arguments, "-kernel", m.image.Kernel, "-initrd", m.image.Initrd, "-append", m.image.Cmdline)
	}

	for i, d := range append(m.disks, disk{file: m.toolsD, serial: "lab", cache: "unsafe", readOnly: true}) {
		drive := fmt.Sprintf("if=none,id=disk%d,format=raw,node-name=%s,cache=%s,file.driver=file,file.node-name=%s,file.filename=%s",
			i, formatNode(d.serial), d.cache, fileNode(d.serial), d.file)
		if d.readOnly {
			drive += ",readonly=on"
		}

		arguments = append(arguments, "-drive", drive, "-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d,serial=%s", i, d.serial))
	}

	return arguments
}

// forwards are the ports of this host that lead into the machine.
func (m *Machine) forwards() string {
	out := fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", m.APIPort, config.APIPort)
	if m.TalosPort != 0 {
		out += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", m.TalosPort, talosPort)
	}

	for guest, host := range m.Forwarded {
		out += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", host, guest)
	}

	return out
}

// accessMAC is the address of the machine's interface that the Switch can't cut.
func accessMAC(index int) string { return fmt.Sprintf("52:54:00:aa:00:%02x", index) }

// mac is the address of the machine's cluster interface.
func mac(index int) string { return fmt.Sprintf("52:54:00:77:00:%02x", index) }

// On reports whether the machine has power.
func (m *Machine) On() bool {
	if m.qemu == nil {
		return false
	}

	select {
	case <-m.exited:
		return false
	default:
		return true
	}
}

// AwaitOff waits until the machine has switched itself off.
func (m *Machine) AwaitOff(ctx context.Context) error {
	select {
	case <-m.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s did not power off: %w", m.Name, ctx.Err())
	}
}

// PowerCut pulls the plug and returns the moment at which it was pulled.
func (m *Machine) PowerCut() time.Time {
	now := time.Now()

	if m.On() {
		_ = m.qemu.Process.Kill()
		<-m.exited
	}

	return now
}

// PID of the machine's QEMU.
func (m *Machine) PID() int { return m.qemu.Process.Pid }

// Console of the machine.
func (m *Machine) Console() *Console { return m.console }

// Pause stops the machine as a whole.
func (m *Machine) Pause() error { return m.qmp("stop", nil) }

// Resume lets a paused machine go on.
func (m *Machine) Resume() error { return m.qmp("cont", nil) }
