package flash

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// target is where the image goes: a file, or a disk.
type target struct {
	path string
	disk bool
	// size of the disk in bytes, or what a file shall have.
	size int64
}

// inspect asks everything that must be known before a byte is written. root is
// "/" but in tests.
func inspect(root, path string, need, fileSize int64, erase bool) (*target, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newFile(path, need, fileSize)
	}

	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}

	switch {
	case info.Mode().IsRegular():
		if !erase {
			return nil, fmt.Errorf("%s is there already: add --erase to write over it", path)
		}

		return newFile(path, need, fileSize)
	case info.Mode()&fs.ModeDevice == 0 || info.Mode()&fs.ModeCharDevice != 0:
		return nil, fmt.Errorf("%s is neither a disk nor a file", path)
	case fileSize != 0:
		return nil, fmt.Errorf("%s is a disk: --size is for files", path)
	}

	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}

	var stat unix.Stat_t

	err = unix.Stat(resolved, &stat)
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", path, err)
	}

	size, err := checkDisk(root, path, fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev)), need)
	if err != nil {
		return nil, err
	}

	if !erase {
		err = checkBlank(resolved)
	}

	return &target{path: resolved, disk: true, size: size}, err
}

func newFile(path string, need, size int64) (*target, error) {
	// Nobody finds a card by a name that is not there: more likely it was mistyped.
	if strings.HasPrefix(filepath.Clean(path), "/dev/") {
		return nil, fmt.Errorf("%s is not there: see `lsblk` for the name of the card", path)
	}

	if size != 0 && size < need {
		return nil, fmt.Errorf("%s would have %d MiB, and the image needs %d: give a larger --size", path, size>>20, need>>20)
	}

	return &target{path: path, size: max(size, need)}, nil
}

// checkDisk refuses a block device (major:minor) that is not a whole disk, that
// anything uses, that can't be written or is too small, and returns its size.
func checkDisk(root, path, number string, need int64) (int64, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(root, "sys/dev/block", number))
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", path, err)
	}

	if _, err = os.Stat(filepath.Join(dir, "partition")); err == nil {
		return 0, fmt.Errorf("%s is a partition: name the whole disk, /dev/%s", path, filepath.Base(filepath.Dir(dir)))
	}

	users, err := usersOf(root, dir)
	if err != nil {
		return 0, fmt.Errorf("find out what uses %s: %w", path, err)
	}

	if len(users) > 0 {
		return 0, fmt.Errorf("%s is in use: %s: unmount that first, if this is the right disk", path, strings.Join(users, ", "))
	}

	if readOnly, _ := attribute(dir, "ro"); readOnly == "1" {
		return 0, fmt.Errorf("%s is write-protected: look for a switch on the card or its adapter", path)
	}

	sectors, err := attribute(dir, "size")
	if err != nil {
		return 0, err
	}

	// Always in units of 512 bytes: Documentation/ABI/stable/sysfs-block.
	count, err := strconv.ParseInt(sectors, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", path, err)
	}

	size := count * 512
	if size == 0 {
		return 0, fmt.Errorf("%s is empty: is a card in the reader?", path)
	}

	if size < need {
		return 0, fmt.Errorf("%s has %d MiB, and the image needs %d: use a larger card", path, size>>20, need>>20)
	}

	return size, nil
}

func attribute(dir, name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))

	return strings.TrimSpace(string(text)), err
}

// usersOf says what is mounted from the disk, its partitions, and what is made of
// them (LVM, RAID, encryption), and what swaps to them or holds them otherwise.
func usersOf(root, disk string) ([]string, error) {
	mounts, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return nil, err
	}

	swaps, err := os.ReadFile(filepath.Join(root, "proc/swaps"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}

	devices, held, err := family(disk)
	if err != nil {
		return nil, err
	}

	users := held

	for number, name := range devices {
		users = append(users, mountedFrom(string(mounts), number, name)...)

		for line := range strings.Lines(string(swaps)) {
			if strings.HasPrefix(line, "/dev/"+name+" ") || strings.HasPrefix(line, "/dev/"+name+"\t") {
				users = append(users, name+" is swap")
			}
		}
	}

	slices.Sort(users)

	return slices.Compact(users), nil
}

// family returns the disk, its partitions and all that is made of them, number
// to name, and says who holds whom.
func family(disk string) (map[string]string, []string, error) {
	devices := map[string]string{}

	var held []string

	var add func(dir string) error

	add = func(dir string) error {
		number, err := attribute(dir, "dev")
		if err != nil {
			return err
		}

		devices[number] = filepath.Base(dir)

		partitions, err := filepath.Glob(filepath.Join(dir, "*", "partition"))
		if err != nil {
			return err
		}

		next, err := filepath.Glob(filepath.Join(dir, "holders", "*"))
		if err != nil {
			return err
		}

		for _, holder := range next {
			held = append(held, fmt.Sprintf("%s belongs to %s", filepath.Base(dir), filepath.Base(holder)))
		}

		for _, path := range partitions {
			next = append(next, filepath.Dir(path))
		}

		for _, path := range next {
			resolved, err := filepath.EvalSymlinks(path)
			if err != nil {
				return err
			}

			if err := add(resolved); err != nil {
				return err
			}
		}

		return nil
	}

	return devices, held, add(disk)
}

// mountedFrom reads proc_pid_mountinfo(5). Some file systems (btrfs) show a
// number of their own there: they are known by their source.
func mountedFrom(mounts, number, name string) []string {
	var out []string

	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)

		separator := slices.Index(fields, "-")
		if len(fields) < 5 || separator < 0 || separator+2 >= len(fields) {
			continue
		}

		if fields[2] == number || fields[separator+2] == "/dev/"+name {
			out = append(out, fmt.Sprintf("%s is mounted on %s", name, fields[4]))
		}
	}

	return out
}

// checkBlank refuses a disk that holds anything in its first MiB.
func checkBlank(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("look what is on %s: %w", device, err)
	}
	defer f.Close()

	head := make([]byte, 1<<20)

	_, err = io.ReadFull(f, head)
	if err != nil {
		return fmt.Errorf("look what is on %s: %w", device, err)
	}

	if !zero(head) {
		return fmt.Errorf("%s is not blank: add --erase if all that is on it may go", device)
	}

	return nil
}
