package moosefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"antler/services/containers"
	"antler/services/node/config"
	"antler/services/replication"
)

// chunkLabel is the ext4 label of a chunk store that antlerd formatted.
const chunkLabel = "antler-chunks"

// ownerFile in the root of a chunk store holds the cluster's ID. Chunks of
// another cluster would be unknown to this one's master, which deletes what it
// doesn't know.
const ownerFile = "antler-cluster"

// Store is a place for chunks that is ready for use.
type Store struct {
	Index int
	// Device it is on; empty for a path of somebody else's file system.
	Device string
	// Path on the host of the directory that is the chunkserver's.
	Path string
}

// Stores makes a chunk store of what the configuration names.
type Stores interface {
	// Prepare returns a store that is ready, or an error that says what stands
	// against it. It writes to a device only if that is blank. With durable, a
	// write there returns when it is on disk.
	Prepare(ctx context.Context, index int, store config.ChunkStore, durable bool) (Store, error)
}

// Runner executes the system's programs. replication.Programs is one.
type Runner interface {
	// Run returns what the program printed on its standard output. If it
	// failed, the error is a *replication.CommandError.
	Run(ctx context.Context, command ...string) (string, error)
}

// Device is a look at a block device, by the rules that the replica's has:
// replication.BlockDevice.
type Device interface {
	// Size fails with fs.ErrNotExist, with EBUSY if the device is in use, and with a
	// *replication.TakenError if it belongs to something else.
	Size(path string) (int64, error)
	// Blank reports whether the first and last mebibyte are all zero.
	Blank(path string) (bool, error)
}

// HostStores prepares stores on this host.
type HostStores struct {
	Runner Runner
	Device Device
	// Cluster is the cluster's ID.
	Cluster string
	// Root is where devices are mounted: Root/0, Root/1, ...
	Root string
}

// Prepare implements Stores.
func (h HostStores) Prepare(ctx context.Context, index int, store config.ChunkStore, durable bool) (Store, error) {
	if store.Device == "" {
		return h.preparePath(index, store.Path, durable)
	}

	return h.prepareDevice(ctx, index, store.Device, durable)
}

func (h HostStores) preparePath(index int, path string, durable bool) (Store, error) {
	err := ownedDirectory(path)
	if err != nil {
		return Store{}, err
	}

	if durable {
		err = setSync(path)
		if err != nil {
			return Store{}, fmt.Errorf("make writes in %s durable: %w (use a disk of its own, ext4 or xfs; or set storage.durability)", path, err)
		}
	}

	return Store{Index: index, Path: path}, nil
}

func (h HostStores) prepareDevice(ctx context.Context, index int, device string, durable bool) (Store, error) {
	point := filepath.Join(h.Root, strconv.Itoa(index))
	store := Store{Index: index, Device: device, Path: filepath.Join(point, "chunks")}

	mounted, err := isMountpoint(point)
	if err != nil {
		return Store{}, err
	}

	if !mounted {
		err = h.bring(ctx, device, point)
		if err != nil {
			return Store{}, err
		}
	}

	// Also for one that an earlier antlerd mounted, maybe with other settings.
	flags := uintptr(unix.MS_REMOUNT | unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC)
	if durable {
		flags |= unix.MS_SYNCHRONOUS
	}

	err = unix.Mount("", point, "", flags, "")
	if err != nil {
		return Store{}, fmt.Errorf("set the mount options of %s at %s: %w", device, point, err)
	}

	err = h.checkOwner(device, point)
	if err != nil {
		return Store{}, errors.Join(err, unix.Unmount(point, unix.MNT_DETACH))
	}

	return store, ownedDirectory(store.Path)
}

// bring mounts the device at point, and formats it before if it is blank.
func (h HostStores) bring(ctx context.Context, device, point string) error {
	blank, err := h.inspect(ctx, device, formattingMark(point))
	if err != nil {
		return err
	}

	if blank {
		err = h.format(ctx, device, point)
		if err != nil {
			return err
		}
	}

	// 0 is clean, 1 is repaired.
	_, err = h.Runner.Run(ctx, "e2fsck", "-p", device)
	if exit := new(replication.CommandError); err != nil && (!errors.As(err, &exit) || exit.Code != 1) {
		return fmt.Errorf("check the file system on %s: %w (look at it with e2fsck; chunks have copies elsewhere)", device, err)
	}

	err = os.MkdirAll(point, 0o755)
	if err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}

	err = unix.Mount(device, point, "ext4", unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "errors=remount-ro")
	if err != nil {
		return fmt.Errorf("mount %s at %s: %w", device, point, err)
	}

	return nil
}

// formattingMark is there while a store is being formatted. mkfs writes the
// superblock last: until then a device is neither blank nor ours.
func formattingMark(point string) string { return point + ".formatting" }

// inspect says whether the device is to be formatted, or ours. Anything else is
// an error that says what is there.
func (h HostStores) inspect(ctx context.Context, device, mark string) (bool, error) {
	_, err := h.Device.Size(device)
	taken := new(replication.TakenError)

	switch {
	case errors.As(err, &taken):
		return false, fmt.Errorf("chunk store %s %s: name another device in node.chunks", device, taken.By)
	case errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("chunk store %s is not there: connect the disk, or correct node.chunks in the configuration", device)
	case errors.Is(err, unix.EBUSY):
		return false, fmt.Errorf("chunk store %s is in use (mounted, or part of something else): unmount it, or name another device", device)
	case err != nil:
		return false, fmt.Errorf("look at chunk store %s: %w", device, err)
	}

	found, err := h.signatures(ctx, device)
	if err != nil {
		return false, err
	}

	if len(found) == 1 && found[0].Type == "ext4" && found[0].Label == chunkLabel {
		return false, nil
	}

	if len(found) > 0 {
		return false, fmt.Errorf("chunk store %s is refused: it holds %s (%q) at %s; if nobody needs that, run \"wipefs -a %s\" and \"blkdiscard -z %s\"",
			device, found[0].Type, found[0].Label, found[0].Offset, device, device)
	}

	_, err = os.Stat(mark)
	if err == nil {
		return true, nil
	}

	blank, err := h.Device.Blank(device)
	if err != nil {
		return false, fmt.Errorf("read chunk store %s: %w", device, err)
	}

	if !blank {
		return false, fmt.Errorf("chunk store %s is refused: it holds data without a known signature; if nobody needs that, run \"blkdiscard -z %s\"", device, device)
	}

	return true, nil
}

// signature is what wipefs found on a device.
type signature struct {
	Type   string `json:"type"`
	Offset string `json:"offset"`
	Label  string `json:"label"`
}

// signatures asks wipefs, which knows what libblkid knows. It only reads.
func (h HostStores) signatures(ctx context.Context, device string) ([]signature, error) {
	out, err := h.Runner.Run(ctx, "wipefs", "--json", "--no-act", device)
	if err != nil {
		return nil, fmt.Errorf("look for signatures on chunk store %s: %w", device, err)
	}

	var found struct {
		Signatures []signature `json:"signatures"`
	}

	// Without a signature some versions print nothing at all.
	if strings.TrimSpace(out) == "" {
		return nil, nil
	}

	err = json.Unmarshal([]byte(out), &found)
	if err != nil {
		return nil, fmt.Errorf("read what wipefs says of %s: %w", device, err)
	}

	return found.Signatures, nil
}

// format makes an ext4 for chunks: files of 64 KiB to 64 MiB, and nothing kept
// for root. The name of the cluster is in it from its first moment.
func (h HostStores) format(ctx context.Context, device, point string) error {
	mark := formattingMark(point)
	content := filepath.Join(mark, "content")

	err := os.MkdirAll(filepath.Join(content, "chunks"), 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(content, ownerFile), []byte(h.Cluster+"\n"), 0o644)
	}

	if err != nil {
		return fmt.Errorf("prepare to format %s: %w", device, err)
	}

	_, err = h.Runner.Run(ctx, "mkfs.ext4", "-q", "-L", chunkLabel, "-m", "0", "-i", "65536", "-d", content, device)
	if err != nil {
		return fmt.Errorf("format %s: %w", device, err)
	}

	unix.Sync()

	return os.RemoveAll(mark)
}

func (h HostStores) checkOwner(device, point string) error {
	text, err := os.ReadFile(filepath.Join(point, ownerFile))
	if err != nil {
		return fmt.Errorf("chunk store %s is refused: its label is ours but it doesn't say whose chunks it holds: %w", device, err)
	}

	if owner := strings.TrimSpace(string(text)); owner != h.Cluster {
		return fmt.Errorf("chunk store %s is refused: its chunks belong to the cluster with ID %s; a cluster that is to go on from the metadata of that one needs its ID (docs/recovery.md); if nobody needs the chunks, clear it with \"wipefs -a %s\"", device, owner, device)
	}

	return nil
}

// ownedDirectory makes path a directory of MooseFS's user.
func ownedDirectory(path string) error {
	err := os.MkdirAll(path, 0o750)
	if err != nil {
		return fmt.Errorf("make chunk directory: %w", err)
	}

	err = os.Chown(path, containers.MFSUser, containers.MFSUser)
	if err != nil {
		return fmt.Errorf("give %s to MooseFS: %w", path, err)
	}

	return nil
}

// isMountpoint says whether a file system is mounted at path.
func isMountpoint(path string) (bool, error) {
	var here, parent unix.Stat_t

	err := unix.Lstat(path, &here)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}

	if err == nil {
		err = unix.Lstat(filepath.Dir(path), &parent)
	}

	if err != nil {
		return false, fmt.Errorf("look at mount point %s: %w", path, err)
	}

	return here.Dev != parent.Dev, nil
}
