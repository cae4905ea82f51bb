package replication

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"antler/services/node/config"
)

const (
	noSignature   = `{"signatures": [ ]}`
	drbdSignature = `{"signatures": [{"device":"vda","offset":"0xffff03c","type":"drbd","uuid":"efe8a7af2a409629","label":null}]}`
	// What is on the replica shows through.
	drbdAndExt4 = `{"signatures": [{"device":"vda","offset":"0xffff03c","type":"drbd","uuid":"x","label":null},` +
		`{"device":"vda","offset":"0x438","type":"ext4","uuid":"y","label":"antler-meta"}]}`
	ext4Signature = `{"signatures": [{"device":"vda","offset":"0x438","type":"ext4","uuid":"y","label":"photos"}]}`
)

func TestInspect(t *testing.T) {
	ours := marker{ConsentID: "consent", Created: true}
	half := marker{ConsentID: "consent"}

	for _, c := range []struct {
		name    string
		device  *fakeDevice
		wipefs  string
		mark    marker
		consent string
		phase   Phase
		says    string
	}{
		{"missing", &fakeDevice{err: fs.ErrNotExist}, "", marker{}, "", PhaseMissing, "is not there"},
		{"in use", &fakeDevice{err: syscall.EBUSY}, "", marker{}, "", PhaseRefused, "in use"},
		{"somebody else's", &fakeDevice{err: &TakenError{"is Talos's system disk"}}, drbdAndExt4, ours, "consent", PhaseRefused, "replica device /dev/vdb is Talos's system disk: name another"},
		{"too small", &fakeDevice{size: config.MinReplicaSize - 1}, "", marker{}, "", PhaseRefused, "128 MiB is the least"},
		{"blank", &fakeDevice{}, noSignature, marker{}, "", PhaseBlank, ""},
		{"a file system", &fakeDevice{}, ext4Signature, marker{}, "consent", PhaseRefused, `ext4 ("photos") at 0x438: if it is not needed, run "wipefs -a /dev/vdb"`},
		{"data without a signature", &fakeDevice{dirty: true}, noSignature, marker{}, "consent", PhaseRefused, "blkdiscard -z /dev/vdb"},
		{"ours", &fakeDevice{dirty: true}, drbdSignature, ours, "consent", PhaseDown, ""},
		{"ours with a file system", &fakeDevice{dirty: true}, drbdAndExt4, ours, "consent", PhaseDown, ""},
		{"ours, before the quorum is heard", &fakeDevice{dirty: true}, drbdAndExt4, ours, "", PhaseDown, ""},
		{"DRBD's, but not made here", &fakeDevice{dirty: true}, drbdAndExt4, marker{}, "consent", PhaseRefused, "this installation did not make"},
		{"made for another cluster", &fakeDevice{dirty: true}, drbdSignature, ours, "other", PhaseRefused, "another cluster"},
		{"a crash while it was made", &fakeDevice{dirty: true}, noSignature, half, "consent", PhaseBlank, ""},
		{"a crash just after it was made", &fakeDevice{dirty: true}, drbdSignature, half, "consent", PhaseDown, ""},
		{"a blank disk in place of ours", &fakeDevice{}, noSignature, ours, "consent", PhaseBlank, ""},
		{"a used disk in place of ours", &fakeDevice{dirty: true}, ext4Signature, ours, "consent", PhaseRefused, "photos"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.device.size == 0 {
				c.device.size = config.MinReplicaSize
			}

			drbd := newFakeDRBD(t)
			drbd.wipefs = c.wipefs
			file := markerFile{filepath.Join(t.TempDir(), "replica.json")}

			if c.mark.ConsentID != "" {
				require.NoError(t, file.write(c.mark))
			}

			found, err := inspector{c.device, drbd, file}.inspect(t.Context(), "/dev/vdb", c.consent)
			require.NoError(t, err)
			assert.Equal(t, c.phase, found.phase, found.problem)
			assert.Contains(t, found.problem, c.says)
			assert.False(t, c.device.zeroed)
		})
	}
}

func TestADeviceThatIsTakenIsNotOpened(t *testing.T) {
	device := BlockDevice{Taken: func(path string) string {
		return map[string]string{"/dev/vda": "is Talos's system disk"}[path]
	}}

	_, err := device.Size("/dev/vda")

	var taken *TakenError

	require.ErrorAs(t, err, &taken)
	require.Equal(t, "is Talos's system disk", taken.By)

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))

	_, err = device.Size(file)
	require.ErrorContains(t, err, "no block device", "what is free is looked at")
}

func TestADamagedMarkerStopsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "replica.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"consen`), 0o600))

	_, err := inspector{&fakeDevice{size: 1 << 30}, newFakeDRBD(t), markerFile{path}}.inspect(t.Context(), "/dev/vdb", "c")
	require.ErrorContains(t, err, "is damaged")
}

func TestBlankEnds(t *testing.T) {
	device := make([]byte, 4<<20)

	for _, c := range []struct {
		name  string
		at    int
		blank bool
	}{
		{"the first byte", 0, false},
		{"the last of the first mebibyte", 1<<20 - 1, false},
		{"the middle is not looked at", 2 << 20, true},
		{"the last byte", 4<<20 - 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			device[c.at] = 1
			defer func() { device[c.at] = 0 }()

			blank, err := blankEnds(bytes.NewReader(device), int64(len(device)))
			require.NoError(t, err)
			assert.Equal(t, c.blank, blank)
		})
	}
}

func TestZeroWhereNeeded(t *testing.T) {
	const size = 3*zeroStep + 512

	device := make([]byte, size)
	device[zeroStep+5] = 1
	device[size-1] = 1

	var zeroed [][2]int64

	err := zeroWhereNeeded(t.Context(), bytes.NewReader(device), size, func(offset, length int64) error {
		zeroed = append(zeroed, [2]int64{offset, length})

		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, [][2]int64{{zeroStep, zeroStep}, {3 * zeroStep, 512}}, zeroed)
}
