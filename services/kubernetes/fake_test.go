package kubernetes

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"antler/services/volume"
)

// fakeTools stand for MooseFS's own programs, on a plain directory. They know
// the classes that MooseFS brings along and those that were made.
type fakeTools struct {
	classes sync.Map
	// quotas by the inode of the directory.
	quotas sync.Map
}

func (f *fakeTools) EnsureClass(_ context.Context, _ *os.File, class string, _ int) error {
	f.classes.Store(class, true)

	return nil
}

func (f *fakeTools) SetClass(_ context.Context, _ *os.File, class string) error {
	if _, made := f.classes.Load(class); !made && class != "2CP" && class != "3CP" {
		return volume.ErrInvalid
	}

	return nil
}

func (*fakeTools) SetTrashTime(context.Context, *os.File, time.Duration) error { return nil }

// quotaKey is the inode: a volume's directory is renamed when it is whole.
func quotaKey(dir *os.File) any {
	var st unix.Stat_t

	_ = unix.Fstat(int(dir.Fd()), &st)

	return st.Ino
}

func (f *fakeTools) SetQuota(_ context.Context, dir *os.File, bytes, inodes uint64) error {
	q := volume.Quota{Limit: bytes, InodeLimit: inodes}
	if have, set := f.quotas.Load(quotaKey(dir)); set && inodes == 0 {
		q.InodeLimit = have.(volume.Quota).InodeLimit
	}

	f.quotas.Store(quotaKey(dir), q)

	return nil
}

func (f *fakeTools) Quotas(_ context.Context, dirs []*os.File) ([]volume.Quota, error) {
	quotas := make([]volume.Quota, len(dirs))

	for i, d := range dirs {
		if limit, set := f.quotas.Load(quotaKey(d)); set {
			quotas[i], _ = limit.(volume.Quota)
		}

		entries, err := os.ReadDir(d.Name())
		if err != nil {
			return nil, err
		}

		quotas[i].UsedInodes = uint64(len(entries))

		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				quotas[i].Used += uint64(info.Size())
			}
		}
	}

	return quotas, nil
}

func (*fakeTools) Snapshot(_ context.Context, from, to *os.File, name string) error {
	return os.CopyFS(filepath.Join(to.Name(), name), os.DirFS(filepath.Join(from.Name(), name)))
}

// fakeMounter keeps a list of binds. It makes and removes directories as the
// real one does.
type fakeMounter struct {
	root       string
	mu         sync.Mutex
	mounts     []Mount
	attributes map[string]uint64
	// fail is what binds and unmounts fail with.
	fail error
}

func (f *fakeMounter) Bind(_ context.Context, source *os.File, target string, attributes uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.fail != nil {
		return f.fail
	}

	if err := os.Mkdir(target, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}

	path, own := strings.CutPrefix(source.Name(), ownPrefix)
	f.mounts = append(f.mounts, Mount{Path: target, Root: strings.TrimPrefix(path, f.root), Own: own})
	f.attributes[target] = attributes

	return nil
}

func (f *fakeMounter) Unmount(_ context.Context, target string) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.fail != nil {
		return f.fail
	}

	var left []Mount

	for _, m := range f.mounts {
		if m.Path != target {
			left = append(left, m)
		}
	}

	f.mounts = left

	return nil
}

func (*fakeMounter) Remove(_ context.Context, target string) error {
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}

	return nil
}

func (f *fakeMounter) List() ([]Mount, error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	return append([]Mount(nil), f.mounts...), nil
}

// ownPrefix is of the name of a root that fakeOwn has opened.
const ownPrefix = "own:"

// fakeOwn are mounts of single volumes, of which each shows the volume's
// directory.
type fakeOwn struct {
	root string
	mu   sync.Mutex
	// options of each by the volume's name:id.
	options map[string][]string
	// ensure, open and remove are what the methods of these names fail with.
	ensure, open, remove error
}

func (f *fakeOwn) Ensure(_ context.Context, name, id string, options []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.ensure == nil {
		f.options[name+":"+id] = options
	}

	return f.ensure
}

func (f *fakeOwn) Open(_ context.Context, name, id string) (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.open != nil {
		return nil, f.open
	}

	if _, there := f.options[name+":"+id]; !there {
		return nil, volume.ErrUnavailable
	}

	path := filepath.Join(f.root, volume.PathOf(name))

	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}

	return os.NewFile(uintptr(fd), ownPrefix+path), nil
}

func (f *fakeOwn) Remove(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.remove == nil {
		maps.DeleteFunc(f.options, func(of string, _ []string) bool { return strings.HasSuffix(of, ":"+id) })
	}

	return f.remove
}

// bench is the driver on a directory that stands for a MooseFS: one serving
// node with a second member.
type bench struct {
	store      *volume.Store
	controller *Controller
	// n1 and n2 are the node services of two nodes.
	n1, n2  *Node
	mounter *fakeMounter
	root    string
	// verify is what the check of the mount says, serving that of the authority.
	verify, serving error
	mu              sync.Mutex
}

func newBench(t *testing.T) *bench {
	t.Helper()

	b := &bench{root: t.TempDir()}

	if err := unix.Setxattr(b.root, "user.antler.test", []byte("x"), 0); errors.Is(err, unix.ENOTSUP) {
		t.Skip("the file system of the temporary directory has no user attributes")
	}

	b.store = volume.New(volume.Options{
		Mount: b.root, Cluster: "cluster-1", Tools: &fakeTools{}, Defaults: volume.Defaults{Copies: 2, TrashTime: time.Hour},
		Verify: func(*os.File) error { b.mu.Lock(); defer b.mu.Unlock(); return b.verify }, Now: time.Now, NewID: uuid.NewString,
	})
	require.NoError(t, b.store.Prepare(t.Context()))

	b.controller = &Controller{
		Volumes: b.store, Cluster: "cluster-1", Nodes: []string{"n1", "n2"}, Copies: 2,
		Serving: func() error { b.mu.Lock(); defer b.mu.Unlock(); return b.serving },
	}
	b.n1, b.mounter = b.node(t, "n1")
	b.n2, _ = b.node(t, "n2")

	return b
}

func (b *bench) node(t *testing.T, name string) (*Node, *fakeMounter) {
	mounter := &fakeMounter{root: b.root, attributes: map[string]uint64{}}

	return &Node{
		Name: name, Cluster: "cluster-1", Kubelet: t.TempDir(), Data: b.store, Mounter: mounter, Uses: b.controller,
		Own: &fakeOwn{root: b.root, options: map[string][]string{}},
	}, mounter
}

// serve starts the driver of n1 on a socket and returns its address.
func (b *bench) serve(t *testing.T) string {
	t.Helper()

	// The path of a socket must be short.
	dir, err := os.MkdirTemp("", "csi")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	listener, err := net.Listen("unix", filepath.Join(dir, "csi.sock"))
	require.NoError(t, err)

	server := grpc.NewServer()
	csi.RegisterIdentityServer(server, &Identity{Version: "test"})
	csi.RegisterControllerServer(server, b.controller)
	csi.RegisterNodeServer(server, b.n1)

	go func() { _ = server.Serve(listener) }()

	t.Cleanup(server.Stop)

	return "unix://" + listener.Addr().String()
}

func dial(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()

	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })

	return conn
}

func capability(mode csi.VolumeCapability_AccessMode_Mode, flags ...string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{MountFlags: flags}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

const (
	rwx  = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	rwo  = csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	rwop = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	rox  = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
)

// create makes a volume of 1 GiB and returns its handle.
func (b *bench) create(t *testing.T, name string, parameters map[string]string) string {
	t.Helper()

	made, err := b.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: name, VolumeCapabilities: []*csi.VolumeCapability{capability(rwx)}, Parameters: parameters,
	})
	require.NoError(t, err)

	return made.GetVolume().GetVolumeId()
}
