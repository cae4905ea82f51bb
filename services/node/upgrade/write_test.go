package upgrade

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/image/layout"
	"antler/image/slots"
	"antler/image/verity"
)

// release is a system that can be told from others.
type release struct {
	root, kernel, initrd []byte
	hash                 verity.Root
}

func newRelease(t *testing.T, name byte, blocks int) release {
	t.Helper()

	data := bytes.Repeat([]byte{name}, blocks*verity.Block)
	hash, tree, err := verity.Tree(bytes.NewReader(data))
	require.NoError(t, err)

	return release{root: append(data, tree...), kernel: bytes.Repeat([]byte{name}, 5000), initrd: bytes.Repeat([]byte{name}, 700), hash: hash}
}

func (r release) system() System {
	kernel, initrd := sha256.Sum256(r.kernel), sha256.Sum256(r.initrd)

	return System{
		Arguments: "quiet " + r.hash.Argument(),
		RootSize:  int64(len(r.root)), KernelSize: int64(len(r.kernel)), InitrdSize: int64(len(r.initrd)),
		KernelSHA256: kernel[:], InitrdSHA256: initrd[:],
	}
}

func (r release) data() io.Reader {
	return io.MultiReader(bytes.NewReader(r.root), bytes.NewReader(r.kernel), bytes.NewReader(r.initrd))
}

// files is a card whose partitions are a directory and two files.
type files struct {
	HostCard
	dir string
}

// memoryDir is in memory if it can be: each step of an upgrade is put on the disk.
func memoryDir(t *testing.T) string {
	t.Helper()

	dir, err := os.MkdirTemp("/dev/shm", "antler-upgrade-")
	if err != nil {
		return t.TempDir()
	}

	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	return dir
}

const slotSize = 4 << 20

func newFiles(t *testing.T) files {
	t.Helper()

	dir := memoryDir(t)
	boot := filepath.Join(dir, "boot")
	require.NoError(t, os.Mkdir(boot, 0o700))

	for _, slot := range []string{layout.SlotA, layout.SlotB} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "slot-"+slot), nil, 0o600))
		require.NoError(t, os.Truncate(filepath.Join(dir, "slot-"+slot), slotSize))
	}

	require.NoError(t, os.WriteFile(filepath.Join(boot, slots.StateFile), slots.State{Slot: layout.SlotA}.Bytes(), 0o600))

	return files{dir: dir, HostCard: HostCard{
		Boot:   func(_ bool, do func(string) error) error { return do(boot) },
		Device: func(slot string) string { return filepath.Join(dir, "slot-"+slot) },
	}}
}

// holds puts a release into a slot as a card is made with it.
func (f files) holds(t *testing.T, slot string, r release) {
	t.Helper()

	require.NoError(t, os.MkdirAll(filepath.Join(f.dir, "boot", slot), 0o700))

	root, err := f.OpenRoot(slot)
	require.NoError(t, err)

	defer root.Close()

	_, err = root.WriteAt(r.root, 0)
	require.NoError(t, err)

	for name, content := range map[string][]byte{
		slots.Kernel: r.kernel, slots.Initrd: r.initrd, slots.EntryFile: slots.Entry(r.system().Arguments),
	} {
		require.NoError(t, f.Write(slot+"/"+name, bytes.NewReader(content)))
	}
}

// whole says which of the releases is in a slot, "" if it could not start.
func (f files) whole(slot string, releases map[string]release) string {
	get := func(name string) string {
		content, _ := os.ReadFile(filepath.Join(f.dir, "boot", slot, name))

		return string(content)
	}
	root, _ := os.ReadFile(f.Device(slot))

	for name, r := range releases {
		if get(slots.EntryFile) == string(slots.Entry(r.system().Arguments)) && get(slots.Kernel) == string(r.kernel) &&
			get(slots.Initrd) == string(r.initrd) && bytes.HasPrefix(root, r.root) {
			return name
		}
	}

	return ""
}

// hasEntry reports whether the boot loader would look into the slot.
func (f files) hasEntry(slot string) bool {
	_, err := os.Stat(filepath.Join(f.dir, "boot", slot, slots.EntryFile))

	return err == nil
}

func (f files) state(t *testing.T) slots.State {
	t.Helper()

	state, err := ReadState(f)
	require.NoError(t, err)

	return state
}

func quiet(string, int64, int64) {}

func TestWriteFillsTheOtherSlot(t *testing.T) {
	card, old, next := newFiles(t), newRelease(t, 'o', 20), newRelease(t, 'n', 300)
	card.holds(t, layout.SlotA, old)

	steps := map[string]int64{}

	slot, err := Write(context.Background(), card, runs(layout.SlotA), next.system(), next.data(), func(step string, done, total int64) {
		require.GreaterOrEqual(t, done, steps[step])
		require.LessOrEqual(t, done, total)
		steps[step] = done
	})
	require.NoError(t, err)
	require.Equal(t, layout.SlotB, slot)
	require.Equal(t, slots.State{Slot: layout.SlotA, Try: layout.SlotB}, card.state(t))
	require.Equal(t, map[string]int64{Writing: next.system().total(), Verifying: int64(len(next.root))}, steps)

	releases := map[string]release{"old": old, "next": next}
	require.Equal(t, "old", card.whole(layout.SlotA, releases))
	require.Equal(t, "next", card.whole(layout.SlotB, releases))

	require.NoError(t, Commit(card, layout.SlotB))
	require.Equal(t, slots.State{Slot: layout.SlotB}, card.state(t))

	back, err := Write(context.Background(), card, runs(layout.SlotB), old.system(), old.data(), quiet)
	require.NoError(t, err)
	require.Equal(t, layout.SlotA, back, "they take turns")
}

// runs is a node that was started from the slot in the usual way.
func runs(slot string) slots.Started { return slots.Started{Slot: slot, Loader: true} }

func TestWriteReplacesASlotThatDidNotStart(t *testing.T) {
	card, old, next := newFiles(t), newRelease(t, 'o', 20), newRelease(t, 'n', 30)
	card.holds(t, layout.SlotB, old)

	slot, err := Write(context.Background(), card, runs(layout.SlotB), next.system(), next.data(), quiet)
	require.NoError(t, err)
	require.Equal(t, layout.SlotA, slot)
	require.Equal(t, slots.State{Slot: layout.SlotB, Try: layout.SlotA}, card.state(t), "back to the one that runs")
}

func TestWriteRefusesBeforeItTouchesAnything(t *testing.T) {
	next := newRelease(t, 'n', 20)

	for name, tc := range map[string]struct {
		started slots.Started
		edit    func(*System)
		want    string
	}{
		"a system on trial":        {slots.Started{Slot: layout.SlotB, Trial: true}, func(*System) {}, "made up its mind"},
		"arguments without a hash": {runs(layout.SlotA), func(s *System) { s.Arguments = "quiet" }, "no argument antler.root="},
		"two lines of arguments":   {runs(layout.SlotA), func(s *System) { s.Arguments += "\nslot=b" }, "not one line"},
		"a root cut short":         {runs(layout.SlotA), func(s *System) { s.RootSize -= verity.Block }, "its hash is of"},
		"no kernel":                {runs(layout.SlotA), func(s *System) { s.KernelSize = 0 }, "no room for"},
		"a giant initrd":           {runs(layout.SlotA), func(s *System) { s.InitrdSize = 1 << 40 }, "no room for"},
	} {
		t.Run(name, func(t *testing.T) {
			card, old := newFiles(t), newRelease(t, 'o', 20)
			card.holds(t, layout.SlotA, old)
			card.holds(t, layout.SlotB, old)

			system := next.system()
			tc.edit(&system)

			_, err := Write(context.Background(), card, tc.started, system, next.data(), quiet)
			require.ErrorIs(t, err, ErrRefused)
			require.ErrorContains(t, err, tc.want)
			require.Equal(t, "old", card.whole(layout.SlotB, map[string]release{"old": old}))
		})
	}
}

func TestWriteNoticesDamage(t *testing.T) {
	for name, spoil := range map[string]func(*release){
		"root":      func(r *release) { r.root[5*verity.Block] ^= 1 },
		"tree":      func(r *release) { r.root[len(r.root)-1] ^= 1 },
		"kernel":    func(r *release) { r.kernel[7] ^= 1 },
		"initrd":    func(r *release) { r.initrd[7] ^= 1 },
		"cut short": func(r *release) { r.initrd = r.initrd[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			card, old, next := newFiles(t), newRelease(t, 'o', 20), newRelease(t, 'n', 30)
			card.holds(t, layout.SlotA, old)

			system := next.system()
			spoil(&next)

			_, err := Write(context.Background(), card, runs(layout.SlotA), system, next.data(), quiet)
			require.ErrorContains(t, err, "slot b: write its")
			require.Equal(t, slots.State{Slot: layout.SlotA}, card.state(t), "it is not tried")
			require.False(t, card.hasEntry(layout.SlotB))
		})
	}
}

// cutCard loses its power in the middle of a step.
type cutCard struct {
	files
	left *int
}

var errCut = errors.New("power cut")

// cut reports whether the power goes now.
func (c cutCard) cut() bool {
	*c.left--

	return *c.left < 0
}

// Write leaves half of the file.
func (c cutCard) Write(name string, from io.Reader) error {
	if !c.cut() {
		return c.files.Write(name, from)
	}

	content, err := io.ReadAll(from)
	if err != nil {
		return err
	}

	return errors.Join(c.files.Write(name, bytes.NewReader(content[:len(content)/2])), errCut)
}

// Overwrite is of one sector: it is done or not.
func (c cutCard) Overwrite(name string, content []byte) error {
	if len(content) != layout.Sector {
		return errors.New("not one sector")
	}

	if c.cut() {
		return errCut
	}

	return c.files.Overwrite(name, content)
}

// Remove is done or not.
func (c cutCard) Remove(name string) error {
	if c.cut() {
		return errCut
	}

	return c.files.Remove(name)
}

// OpenRoot implements Card.
func (c cutCard) OpenRoot(slot string) (Root, error) {
	root, err := c.files.OpenRoot(slot)

	return cutRoot{root, c}, err
}

type cutRoot struct {
	Root

	card cutCard
}

// WriteAt leaves half of it.
func (r cutRoot) WriteAt(p []byte, at int64) (int, error) {
	if !r.card.cut() {
		return r.Root.WriteAt(p, at)
	}

	n, err := r.Root.WriteAt(p[:len(p)/2], at)

	return n, errors.Join(err, errCut)
}

// TestAPowerCutAtAnyStepLeavesANodeThatStarts cuts an upgrade after each write to
// the card, and looks at what the boot loader finds then, start after start.
func TestAPowerCutAtAnyStepLeavesANodeThatStarts(t *testing.T) {
	old, before, next := newRelease(t, 'o', 20), newRelease(t, 'b', 25), newRelease(t, 'n', 260)
	releases := map[string]release{"old": old, "before": before, "next": next}

	for _, state := range []slots.State{{Slot: layout.SlotA}, {Slot: layout.SlotA, Try: layout.SlotB}} {
		for steps, done := 0, false; !done; steps++ {
			card := newFiles(t)
			card.holds(t, layout.SlotA, old)
			card.holds(t, layout.SlotB, before)
			require.NoError(t, card.Overwrite(slots.StateFile, state.Bytes()))

			left := steps
			_, err := Write(context.Background(), cutCard{card, &left}, runs(layout.SlotA), next.system(), next.data(), quiet)
			done = err == nil

			if !done {
				require.ErrorIs(t, err, errCut)
			}

			starts := requireStarts(t, card, releases, steps)
			require.Equal(t, "old", starts[1], "after %d steps: what is tried is tried once", steps)

			if done {
				require.Equal(t, "next", starts[0])
				require.Greater(t, steps, 6)
			}

			// An upgrade that is repeated works, whatever was left.
			_, err = Write(context.Background(), card, runs(layout.SlotA), next.system(), next.data(), quiet)
			require.NoError(t, err, "after %d steps", steps)
			require.Equal(t, "next", requireStarts(t, card, releases, steps)[0])
		}
	}
}

// requireStarts is what two starts without a commit find.
func requireStarts(t *testing.T, card files, releases map[string]release, steps int) []string {
	t.Helper()

	var found []string

	for range 2 {
		choice := slots.Choose(card.state(t))
		require.NoError(t, card.Overwrite(slots.StateFile, choice.Next.Bytes()))

		system := ""

		for _, slot := range choice.Order {
			if card.hasEntry(slot) {
				system = card.whole(slot, releases)
				require.NotEmpty(t, system, "after %d steps slot %s has an entry and is not whole", steps, slot)

				break
			}
		}

		require.NotEmpty(t, system, "after %d steps nothing starts", steps)
		found = append(found, system)
	}

	return found
}

func TestACommitCutShortIsRepeatable(t *testing.T) {
	card := newFiles(t)
	left := 0
	require.ErrorIs(t, Commit(cutCard{card, &left}, layout.SlotB), errCut)
	require.Equal(t, slots.State{Slot: layout.SlotA}, card.state(t))
}

func TestOverwriteOnlyWhatIsThere(t *testing.T) {
	card := newFiles(t)
	require.ErrorContains(t, card.Overwrite("gone", []byte("x")), "write the card anew")
	require.ErrorContains(t, card.Overwrite(slots.StateFile, []byte("x")), "somebody edited it")
	require.NoError(t, card.Remove("gone"))
	require.ErrorIs(t, card.Read("gone", nil), fs.ErrNotExist)
}
