// Command init is the first program the kernel runs, from the initrd. It loads
// the modules the disk needs, finds Antler's partitions by their labels, mounts
// the read-only root, checked block by block, and the state on /var, and becomes systemd.
//
// It is a program and not a script because a shell, a udev and a mount(8)
// started for four system calls cost seconds on a small board, and because
// what it decides (find.go, state.go) can be tested.
//
// If it cannot go on it says why and ends, upon which the kernel panics and,
// with panic=5 on its command line, starts again: a card pushed in while the
// node waits is found.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"antler/image/layout"
	"antler/image/slots"
	"antler/image/verity"
)

const (
	newRoot = "/root"
	systemd = "/usr/lib/systemd/systemd"
	// patience is how long disks get to appear after their drivers are
	// loaded: a USB disk behind a hub takes up to 10 s.
	patience = 20 * time.Second
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == guardArgument {
		guard(trialTime, time.Sleep, reset)
		return
	}
	err := boot()
	fmt.Fprintln(os.Stderr, "antler init:", err)
	os.Exit(1)
}

// boot ends with systemd in its place: it returns only with an error.
func boot() error {
	if err := mountKernel(); err != nil {
		return err
	}
	if isPi("/proc/device-tree/model") {
		if err := loadModules("/modules-pi"); err != nil {
			return err
		}
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	parts, err := waitForParts("/sys/class/block", patience)
	if err != nil {
		return err
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	started := slots.ParseStarted(string(cmdline))
	if started.Slot == "" {
		return errors.New("the kernel has no argument " + slots.SlotArgument + ": start it with the cmdline of its own image")
	}
	if started.Trial {
		if err := startGuard(); err != nil {
			return err // what can't be guarded is not tried
		}
	}
	if err := mountRoot("/dev/"+parts[layout.Root(started.Slot)], string(cmdline)); err != nil {
		return err
	}
	if err := growState("/sys/class/block", parts[layout.State]); err != nil {
		// A small state partition is better than no node.
		fmt.Fprintln(os.Stderr, "antler init: the state partition stays as small as it is:", err)
	}
	if err := mountState("/dev/"+parts[layout.State], filepath.Join(newRoot, "var")); err != nil {
		return err
	}
	if err := seed("/run", run); err != nil {
		return err
	}
	if err := seed(filepath.Join(newRoot, "var"), state); err != nil {
		return err
	}
	if err := setSysctls(filepath.Join(newRoot, "etc/sysctl.d/antler.conf"), "/proc/sys"); err != nil {
		return err
	}
	// antlerd prepare looks there for antler.yaml, and an update for the slots.
	for label, name := range map[string]string{
		layout.Boot: "boot-partition", layout.Root(layout.SlotA): "slot-a", layout.Root(layout.SlotB): "slot-b",
	} {
		if err := os.Symlink("/dev/"+parts[label], "/run/antler/"+name); err != nil {
			return err
		}
	}
	if err := identify(newRoot); err != nil {
		return err
	}
	return becomeSystemd()
}

// mountRoot mounts the system, of which every block is checked as it is read.
func mountRoot(partition, cmdline string) error {
	root, err := verity.Parse(cmdline)
	if err != nil {
		return err
	}
	device, err := openVerity(partition, root)
	if err != nil {
		return err
	}
	return mount(device, newRoot, "squashfs", unix.MS_RDONLY, "")
}

// isPi reads what the firmware says the machine is.
func isPi(model string) bool {
	text, err := os.ReadFile(model)
	return err == nil && strings.HasPrefix(string(text), "Raspberry Pi")
}

func mountKernel() error {
	return errors.Join(
		mount("devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"),
		mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""),
		mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=20%"),
		mount("tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=20%"),
	)
}

func mount(what, where, kind string, flags uintptr, options string) error {
	if err := unix.Mount(what, where, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s (%s) on %s: %w", what, kind, where, err)
	}
	return nil
}

// loadModules loads every file of dir in the order of their names. A driver
// that finds no device of its kind is no error.
func loadModules(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := loadModule(file); err != nil {
			return err
		}
	}
	return nil
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", 0)
	if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	return nil
}

// becomeSystemd moves what is mounted below the new root, makes that the root
// and executes systemd.
func becomeSystemd() error {
	// Init and modules would stay in memory for good.
	if err := errors.Join(os.RemoveAll("/modules"), os.RemoveAll("/modules-pi"), os.Remove("/init")); err != nil {
		return err
	}
	for _, dir := range []string{"/dev", "/proc", "/sys", "/run", "/tmp"} {
		if err := mount(dir, newRoot+dir, "", unix.MS_MOVE, ""); err != nil {
			return err
		}
	}
	if err := unix.Chdir(newRoot); err != nil {
		return fmt.Errorf("enter %s: %w", newRoot, err)
	}
	if err := mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	return fmt.Errorf("execute %s: %w", systemd, unix.Exec(systemd, []string{systemd}, os.Environ()))
}
