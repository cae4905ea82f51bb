// Package debian gets Debian's packages for an image: it unpacks them into a
// directory for any architecture, with no emulation, and runs none of their
// scripts.
package debian

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tree is a set of packages with all that they depend on.
type Tree struct {
	// Suite is a release, "trixie" for example; Arch an architecture in
	// Debian's words (and Go's): arm64 or amd64.
	Suite, Arch string
	Packages    []string
	// Sources are the lines of sources.list; none means mmdebstrap's default.
	Sources []string
	// AllowExpired takes lists that the archive says are too old: those of a mirror
	// that stands still. Their signatures are checked all the same. What it gives
	// up is that nobody can pass old packages off as today's.
	AllowExpired bool
}

// Fetch unpacks the packages into root, which it makes, and writes the list of
// what was unpacked, a line "name version" for each package.
func (t Tree) Fetch(ctx context.Context, root, list string) error {
	debs, err := filepath.Abs(root + ".debs")
	if err != nil {
		return err
	}
	args := []string{
		"--variant=extract", "--architectures=" + t.Arch, "--format=directory", "--mode=root",
		"--aptopt=APT::Install-Recommends \"false\"",
		"--include=" + strings.Join(t.Packages, ","),
		// The archives' names are the only record of versions: with this
		// variant dpkg's database stays empty.
		`--extract-hook=ls "$1/var/cache/apt/archives" > "` + debs + `"`,
		t.Suite, root,
	}
	if t.AllowExpired {
		args = append([]string{`--aptopt=Acquire::Check-Valid-Until "false"`}, args...)
	}
	if err := Run(ctx, "mmdebstrap", append(args, t.Sources...)...); err != nil {
		return fmt.Errorf("%w\nif the mirror's lists are missing or old, run \"apt-get update\" and try again", err)
	}
	names, err := os.ReadFile(debs)
	if err != nil {
		return err
	}
	manifest, err := manifestOf(string(names))
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(list, []byte(manifest), 0o644), os.Remove(debs))
}

// manifestOf turns archive names (name_version_arch.deb, ":" written %3a)
// into "name version" lines.
func manifestOf(archives string) (string, error) {
	var out strings.Builder
	for _, name := range strings.Fields(archives) {
		parts := strings.Split(strings.TrimSuffix(name, ".deb"), "_")
		if !strings.HasSuffix(name, ".deb") || len(parts) != 3 {
			continue
		}
		version, err := url.PathUnescape(parts[1])
		if err != nil {
			return "", fmt.Errorf("package archive %s: %w", name, err)
		}
		fmt.Fprintf(&out, "%s %s\n", parts[0], version)
	}
	if out.Len() == 0 {
		return "", errors.New("mmdebstrap left no package archives to list")
	}
	return out.String(), nil
}

// Run runs a program of the build machine; what it printed is part of the
// error when it fails, and of no interest otherwise.
func Run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
