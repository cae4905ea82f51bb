package volume

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// expiryPasses is how many passes of Purge in a row must find an entry of
	// the archive expired before it goes. The passes are made at intervals that
	// don't depend on the system clock, so a clock that jumps takes nobody's
	// time to bring a volume back.
	expiryPasses = 6
	// purgeStep is how many names one step of the removal looks at.
	purgeStep = 256
	// purgeBudget is how many things one pass removes, so that it ends before
	// its deadline on slow hardware; the next pass goes on.
	purgeBudget = 2000
)

// expiry counts in how many passes in a row an entry of the archive was found
// to be expired. It is used under Store.changing.
type expiry map[string]int

// Purged is what a pass of Purge did.
type Purged struct {
	// Volumes whose time in the archive was over, by archive id.
	Volumes []string
	// Removed files and directories; More remain for the next pass.
	Removed int
	More    bool
}

// Purge makes one pass: what has been expired for expiryPasses passes leaves
// the archive for good, and some of what is to be removed is removed. Files go
// through MooseFS's trash first, as always.
func (s *Store) Purge(ctx context.Context) (Purged, error) {
	volumes, err := change(ctx, s, "purge deleted volumes", func(_ context.Context, t *tree) ([]string, error) {
		return s.expire(t)
	})
	if err != nil {
		return Purged{}, err
	}

	// Nobody else touches .purge, so the others needn't wait for this.
	return look(ctx, s, "remove purged volumes", func(ctx context.Context, t *tree) (Purged, error) {
		purge, err := t.keep(t.volumes.sub(purgeDir))
		if err != nil {
			return Purged{}, err
		}

		// So that it stops by itself before it is given up for hanging.
		ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout/2)
		defer cancel()

		w := wrecker{purge: purge, newID: s.opts.NewID, budget: purgeBudget}
		err = w.pass(ctx)

		return Purged{Volumes: volumes, Removed: w.removed, More: w.more}, err
	})
}

// expire moves what is over from the archive to .purge, and what an interrupted
// Create left.
func (s *Store) expire(t *tree) ([]string, error) {
	archive, err := t.keep(t.volumes.mkdir(archiveDir, 0o700))
	if err != nil {
		return nil, err
	}

	purge, err := t.keep(t.volumes.mkdir(purgeDir, 0o700))
	if err != nil {
		return nil, err
	}

	entries, err := archive.names(0)
	if err != nil {
		return nil, err
	}

	seen := expiry{}

	var out []string

	for _, entry := range entries {
		id, err := parseArchiveID(entry)
		if err != nil || s.opts.Now().Before(id.expires) {
			continue
		}

		seen[entry] = s.expiry[entry] + 1
		if seen[entry] < expiryPasses {
			continue
		}

		if err := archive.rename(entry, purge, s.opts.NewID()); err != nil {
			return out, err
		}

		out = append(out, entry)
	}

	s.expiry = seen

	return out, s.discardUnfinished(t)
}

// discardUnfinished moves away what interrupted Creates left. No Create runs
// now, as this holds Store.changing.
func (s *Store) discardUnfinished(t *tree) error {
	names, err := t.volumes.names(0)
	if err != nil {
		return err
	}

	snapshots, err := t.keep(t.volumes.sub(snapshotDir))
	if err != nil && !isNotExist(err) {
		return err
	}

	if err == nil {
		unfinished, err := snapshots.names(0)
		if err != nil {
			return err
		}

		if err := s.discardCreating(t, snapshots, unfinished); err != nil {
			return err
		}
	}

	return s.discardCreating(t, t.volumes, names)
}

func (s *Store) discardCreating(t *tree, parent dir, names []string) error {
	for _, name := range names {
		if strings.HasPrefix(name, creating) {
			if err := s.discard(t, parent, name); err != nil {
				return err
			}
		}
	}

	return nil
}

// wrecker removes what is in .purge. It never goes down more than one level:
// a directory that isn't empty is renamed to .purge itself and has its turn
// later. So neither its stack nor its open files depend on what people made,
// and it can stop at any moment.
type wrecker struct {
	purge   dir
	newID   func() string
	budget  int
	removed int
	more    bool
}

// pass removes until nothing is left that can be, or the budget is spent.
func (w *wrecker) pass(ctx context.Context) error {
	for {
		before := w.removed

		names, err := w.purge.names(purgeStep)
		if err != nil {
			return err
		}

		var errs []error

		for _, name := range names {
			if ctx.Err() != nil || w.budget <= 0 {
				w.more = true

				return errors.Join(errs...)
			}

			if err := w.entry(ctx, name); err != nil {
				errs = append(errs, err)
			}
		}

		if len(names) == 0 || w.removed == before && len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
}

// entry removes one entry of .purge, or makes it emptier.
func (w *wrecker) entry(ctx context.Context, name string) error {
	w.budget--

	err := w.purge.remove(name)
	if err == nil {
		w.removed++

		return nil
	}

	if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) {
		return err
	}

	top, err := w.purge.sub(name)
	if err != nil {
		return err
	}

	defer top.Close()

	for ctx.Err() == nil && w.budget > 0 {
		names, err := top.names(purgeStep)
		if err != nil || len(names) == 0 {
			return err
		}

		for _, child := range names {
			if err := w.child(top, child); err != nil {
				return fmt.Errorf("something can't be removed: %w", err)
			}
		}
	}

	return nil
}

// child removes something one level down, or lifts it up.
func (w *wrecker) child(top dir, name string) error {
	w.budget--

	err := top.remove(name)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return top.rename(name, w.purge, w.newID())
	}

	if err == nil {
		w.removed++
	}

	return err
}
