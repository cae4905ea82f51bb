package main

import (
	"context"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// lockPath is where -update-lock writes, from the top of the source tree.
const lockPath = "image/packages.lock"

//go:embed packages.lock
var lockText string

// locked is one line of the lock file: a package of Debian's and the very
// archive it comes from.
type locked struct {
	name, version, arch, sha256 string
}

// lock is the whole package set, in the order of names.
type lock struct {
	// wanted is the hash of the list the set was resolved from (packages.go).
	wanted   string
	packages []locked
}

const lockHead = `# Every Debian package of the image, and the SHA-256 of its archive. Written by
# "make image-lock" from the list in packages.go; never edited by hand.
`

// wantedPackages changes when the list in packages.go does.
func wantedPackages() string { return hashStrings(suite, []string{components}, packages) }

func (l lock) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%swanted %s\n", lockHead, l.wanted)
	for _, p := range l.packages {
		fmt.Fprintf(&out, "%s %s %s %s\n", p.name, p.version, p.arch, p.sha256)
	}
	return out.String()
}

func parseLock(text string) (lock, error) {
	var l lock
	n := 0
	for line := range strings.Lines(text) {
		n++
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || strings.HasPrefix(f[0], "#"):
		case len(f) == 2 && f[0] == "wanted":
			l.wanted = f[1]
		case len(f) == 4 && isSHA256(f[3]):
			l.packages = append(l.packages, locked{f[0], f[1], f[2], f[3]})
		default:
			return lock{}, fmt.Errorf("%s line %d is not \"name version architecture sha256\": run \"make image-lock\"", lockPath, n)
		}
	}
	return l, l.check()
}

func (l lock) check() error {
	if len(l.packages) == 0 {
		return fmt.Errorf("%s names no packages: run \"make image-lock\"", lockPath)
	}
	for i, p := range l.packages[1:] {
		if p.name <= l.packages[i].name {
			return fmt.Errorf("%s: %s is out of order or there twice: run \"make image-lock\"", lockPath, p.name)
		}
	}
	return nil
}

// matches fails when packages.go was changed and the lock was not.
func (l lock) matches(wanted string) error {
	if l.wanted != wanted {
		return fmt.Errorf("%s was made for another list of packages than packages.go has: run \"make image-lock\"", lockPath)
	}
	return nil
}

func isSHA256(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == 32
}

// lockOf describes the archives in dir.
func lockOf(dir, wanted string) (lock, error) {
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return lock{}, err
	}
	l := lock{wanted: wanted}
	for _, deb := range debs {
		name, version, arch, err := splitArchiveName(filepath.Base(deb))
		if err != nil {
			return lock{}, err
		}
		sum, err := fileSHA256(deb)
		if err != nil {
			return lock{}, err
		}
		l.packages = append(l.packages, locked{name, version, arch, sum})
	}
	slices.SortFunc(l.packages, func(a, b locked) int { return strings.Compare(a.name, b.name) })
	if len(l.packages) == 0 {
		return lock{}, errors.New("apt downloaded no package archives")
	}
	return l, l.check()
}

// updateLock resolves the list in packages.go against the archive as it is
// today and writes the lock file.
func updateLock(ctx context.Context, debs debCache) error {
	l, err := debs.resolve(ctx, wantedPackages(), packages)
	if err != nil {
		return err
	}
	if err := os.WriteFile(lockPath, []byte(l.String()), 0o644); err != nil {
		return err
	}
	old, err := parseLock(lockText)
	if err != nil {
		old = lock{}
	}
	for _, line := range old.changes(l) {
		fmt.Println("image:", line)
	}
	fmt.Printf("image: %s names %d packages\n", lockPath, len(l.packages))
	return nil
}

// changes are the differences from l to next, a line each.
func (l lock) changes(next lock) []string {
	before := map[string]string{}
	for _, p := range l.packages {
		before[p.name] = p.version
	}
	var out []string
	for _, p := range next.packages {
		switch was, had := before[p.name]; {
		case !had:
			out = append(out, fmt.Sprintf("new      %s %s", p.name, p.version))
		case was != p.version:
			out = append(out, fmt.Sprintf("changed  %s %s -> %s", p.name, was, p.version))
		}
		delete(before, p.name)
	}
	for _, p := range l.packages {
		if was, gone := before[p.name]; gone {
			out = append(out, fmt.Sprintf("removed  %s %s", p.name, was))
		}
	}
	return out
}

// packageSet is what the image is made of: the locked set. Debian's archive
// keeps only the newest version of a package, so some day the locked one can't
// be had any more; an image for tests is then made with what there is, and says
// so, and one for release (strict) is not made.
func packageSet(ctx context.Context, debs debCache, strict bool) (lock, error) {
	l, err := parseLock(lockText)
	if err != nil {
		return lock{}, err
	}
	if err := l.matches(wantedPackages()); err != nil {
		return lock{}, err
	}
	newer := filepath.Join(debs.dir, "newer-than-"+hashStrings(lockText)+".lock")
	if text, err := os.ReadFile(newer); err == nil && !strict {
		return debs.newerSet(ctx, l, string(text))
	}
	err = debs.fetch(ctx, l)
	if err == nil || strict || errors.Is(err, errChanged) {
		return l, err
	}
	now, resolveErr := debs.resolve(ctx, wantedPackages(), packages)
	if resolveErr != nil {
		return lock{}, errors.Join(err, resolveErr)
	}
	if err := os.WriteFile(newer, []byte(now.String()), 0o644); err != nil {
		return lock{}, err
	}
	return debs.newerSet(ctx, l, now.String())
}

// newerSet says how the set in text differs from the locked one, and returns it.
func (c debCache) newerSet(ctx context.Context, l lock, text string) (lock, error) {
	now, err := parseLock(text)
	if err != nil {
		return lock{}, err
	}
	fmt.Printf("image: WARNING: the archive has moved on from %s; this image is for tests only:\n", lockPath)
	for _, line := range l.changes(now) {
		fmt.Println("image:   ", line)
	}
	fmt.Println("image: WARNING: run \"make image-lock\" and look at what changed")
	return now, c.fetch(ctx, now)
}
