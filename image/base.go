package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// makeBase returns the directory of the base tree: Debian's packages without
// what packages.go prunes, with kernel modules ready to load. It is made anew
// only when its key changes.
func makeBase(ctx context.Context, cache string) (string, error) {
	sources := aptSources()
	key := hashStrings(suite, sources, packages, pruned, keptUdevRules, keptWants)
	base := filepath.Join(cache, "base-"+key)
	if _, err := os.Stat(base); err == nil {
		return base, nil
	}
	tmp := base + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return "", err
	}
	root := filepath.Join(tmp, "root")
	if err := fetchPackages(ctx, root, filepath.Join(tmp, "packages.txt"), sources); err != nil {
		return "", err
	}
	if err := prune(root); err != nil {
		return "", err
	}
	if err := readyModules(ctx, root); err != nil {
		return "", err
	}
	// The rename is the commit: an interrupted build leaves only a ".new".
	return base, os.Rename(tmp, base)
}

// fetchPackages unpacks our packages for arm64, with no emulation, and writes
// the list of what was unpacked.
func fetchPackages(ctx context.Context, root, list string, sources []string) error {
	debs := root + ".debs"
	args := []string{
		"--variant=extract", "--architectures=arm64", "--format=directory", "--mode=root",
		"--aptopt=APT::Install-Recommends \"false\"",
		"--include=" + strings.Join(packages, ","),
		// The archives' names are the only record of versions: with this
		// variant dpkg's database stays empty.
		`--extract-hook=ls "$1/var/cache/apt/archives" > "` + abs(debs) + `"`,
		suite, root,
	}
	if err := command(ctx, "mmdebstrap", append(args, sources...)...); err != nil {
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

func prune(root string) error {
	for _, pattern := range pruned {
		matches, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return fmt.Errorf("prune %s: %w", pattern, err)
		}
		for _, m := range matches {
			if err := os.RemoveAll(m); err != nil {
				return err
			}
		}
	}
	return errors.Join(
		pruneDoc(root),
		keepOnly(filepath.Join(root, "usr/lib/udev/rules.d/*"), keptUdevRules),
		keepOnly(filepath.Join(root, "usr/lib/systemd/system/*.wants/*"), keptWants),
	)
}

func keepOnly(pattern string, keep []string) error {
	matches, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, m := range matches {
		if slices.Contains(keep, filepath.Base(m)) {
			continue
		}
		if err := os.RemoveAll(m); err != nil {
			return err
		}
	}
	return nil
}

// pruneDoc removes documentation but every package's copyright file: the
// licences travel with the programs.
func pruneDoc(root string) error {
	doc := filepath.Join(root, "usr/share/doc")
	return filepath.WalkDir(doc, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "copyright" {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 && filepath.Dir(path) == doc {
			return nil // one package's directory standing for another's
		}
		return os.Remove(path)
	})
}

func abs(path string) string {
	a, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return a
}
