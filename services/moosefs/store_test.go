package moosefs

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"antler/services/replication"
)

type fakeDevice struct {
	err   error
	blank bool
}

func (f fakeDevice) Size(string) (int64, error) { return 1 << 30, f.err }
func (f fakeDevice) Blank(string) (bool, error) { return f.blank, nil }

func TestStoreInspection(t *testing.T) {
	const ours = `{"signatures":[{"device":"vdb","offset":"0x438","type":"ext4","uuid":"x","label":"antler-chunks"}]}`
	const theirs = `{"signatures":[{"device":"vdb","offset":"0x0","type":"xfs","uuid":"x","label":null}]}`
	const unlabelled = `{"signatures":[{"device":"vdb","offset":"0x438","type":"ext4","uuid":"x","label":null}]}`
	const both = `{"signatures":[{"offset":"0x1fe","type":"dos"},{"offset":"0x438","type":"ext4","label":"antler-chunks"}]}`

	for _, test := range []struct {
		name   string
		device fakeDevice
		wipefs string
		marked bool
		format bool
		err    string
	}{
		{name: "blank", device: fakeDevice{blank: true}, format: true},
		{name: "ours", wipefs: ours},
		{name: "missing", device: fakeDevice{err: fs.ErrNotExist}, err: "is not there"},
		{name: "in use", device: fakeDevice{err: unix.EBUSY}, err: "is in use"},
		{name: "somebody else's", device: fakeDevice{err: &replication.TakenError{By: "is Talos's volume u-photos"}, blank: true}, err: "chunk store /dev/vdb is Talos's volume u-photos: name another"},
		{name: "another file system", wipefs: theirs, err: "holds xfs"},
		{name: "another ext4", wipefs: unlabelled, err: "holds ext4"},
		{name: "more than one signature", wipefs: both, err: "holds dos"},
		{name: "unknown data", err: "without a known signature"},
		{name: "formatting was interrupted", marked: true, format: true},
		{name: "interrupted, then another disk", marked: true, wipefs: theirs, err: "holds xfs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			mark := filepath.Join(t.TempDir(), "0.formatting")
			if test.marked {
				require.NoError(t, os.Mkdir(mark, 0o755))
			}

			stores := HostStores{Device: test.device, Cluster: "5d1c", Runner: &fakeRunner{answers: map[string]string{
				"wipefs --json --no-act /dev/vdb": test.wipefs,
			}}}

			format, err := stores.inspect(t.Context(), "/dev/vdb", mark)
			assert.Equal(t, test.format, format)

			if test.err != "" {
				assert.ErrorContains(t, err, test.err)
			} else {
				assert.NoError(t, err)
			}
		})
	}
}

// formatRunner looks at what mkfs would put into the new file system.
type formatRunner struct {
	t *testing.T
	fakeRunner
}

func (f *formatRunner) Run(ctx context.Context, command ...string) (string, error) {
	if command[0] == "mkfs.ext4" {
		content := command[len(command)-2]
		owner, err := os.ReadFile(filepath.Join(content, ownerFile))
		assert.NoError(f.t, err)
		assert.Equal(f.t, "5d1c\n", string(owner))
		assert.DirExists(f.t, filepath.Join(content, "chunks"))
	}

	return f.fakeRunner.Run(ctx, command...)
}

func TestFormatKeepsItsMarkUntilItIsDone(t *testing.T) {
	point := filepath.Join(t.TempDir(), "0")
	run := &formatRunner{t: t}
	stores := HostStores{Runner: run, Cluster: "5d1c"}

	run.codes = map[string]int{"mkfs.ext4": 1}
	require.Error(t, stores.format(t.Context(), "/dev/vdb", point))
	assert.DirExists(t, formattingMark(point))

	run.codes = nil
	require.NoError(t, stores.format(t.Context(), "/dev/vdb", point))
	assert.NoDirExists(t, formattingMark(point))
	require.Len(t, run.ran, 2)
}

func TestForeignStoreIsRefused(t *testing.T) {
	point := t.TempDir()
	stores := HostStores{Cluster: "5d1c"}
	assert.ErrorContains(t, stores.checkOwner("/dev/vdb", point), "whose chunks")

	require.NoError(t, os.WriteFile(filepath.Join(point, ownerFile), []byte("other\n"), 0o644))
	assert.ErrorContains(t, stores.checkOwner("/dev/vdb", point), "ID other")

	require.NoError(t, os.WriteFile(filepath.Join(point, ownerFile), []byte("5d1c\n"), 0o644))
	assert.NoError(t, stores.checkOwner("/dev/vdb", point))
}

// Needs a file system with attributes, as Go's build machines have.
func TestSyncAttributeIsInherited(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "00"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "00", "chunk"), nil, 0o644))

	err := setSync(root)
	if err != nil {
		t.Skipf("no attributes here: %v", err)
	}

	later := filepath.Join(root, "01", "later")
	require.NoError(t, os.MkdirAll(later, 0o755))

	for _, path := range []string{root, filepath.Join(root, "00"), filepath.Join(root, "00", "chunk"), later} {
		set, err := hasSync(path)
		require.NoError(t, err)
		assert.True(t, set, path)
	}
}
