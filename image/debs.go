package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// debCache keeps package archives by the SHA-256 of their content, so that a
// build whose packages are all there needs no network.
type debCache struct {
	dir     string
	sources []string
}

func (c debCache) path(p locked) string { return filepath.Join(c.dir, p.sha256+".deb") }

// resolve lets apt choose versions for the wanted packages and all they depend
// on, keeps their archives, and says what they are. apt checks the signatures
// of the archive; from here on the hash stands for them.
func (c debCache) resolve(ctx context.Context, wanted string, names []string) (lock, error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return lock{}, err
	}
	work, err := os.MkdirTemp(c.dir, "resolve-")
	if err != nil {
		return lock{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	args := []string{
		"--variant=extract", "--architectures=arm64", "--format=directory", "--mode=root",
		"--aptopt=APT::Install-Recommends \"false\"",
		"--components=" + strings.ReplaceAll(components, " ", ","),
		"--include=" + strings.Join(names, ","),
		`--extract-hook=cp "$1"/var/cache/apt/archives/*.deb "` + abs(work) + `"`,
		suite, filepath.Join(work, "root"),
	}
	if err := command(ctx, "mmdebstrap", append(args, c.sources...)...); err != nil {
		return lock{}, fmt.Errorf("%w\nif the mirror's lists are missing or old, run \"apt-get update\" and try again", err)
	}
	l, err := lockOf(work, wanted)
	if err != nil {
		return lock{}, err
	}
	debs, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil {
		return lock{}, err
	}
	for _, deb := range debs {
		sum, err := fileSHA256(deb)
		if err != nil {
			return lock{}, err
		}
		if err := os.Rename(deb, filepath.Join(c.dir, sum+".deb")); err != nil {
			return lock{}, err
		}
	}
	return l, nil
}

// fetch sees to it that every archive of the lock is in the cache.
func (c debCache) fetch(ctx context.Context, l lock) error {
	var pinned []string
	missing := 0
	for _, p := range l.packages {
		pinned = append(pinned, p.name+"="+p.version)
		if _, err := os.Stat(c.path(p)); err != nil {
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	got, err := c.resolve(ctx, l.wanted, pinned)
	if err != nil {
		return fmt.Errorf("download the packages of %s: %w\nif the archive no longer has one of them, run \"make image-lock\"", lockPath, err)
	}
	for _, p := range l.packages {
		if _, err := os.Stat(c.path(p)); err != nil {
			return fmt.Errorf("%s: the archive's %s %s is not the one that was locked: %w", lockPath, p.name, p.version,
				errors.Join(errChanged, changedHash(got, p)))
		}
	}
	return nil
}

// errChanged is worse than a version that is gone: the same version has other
// bytes than those somebody looked at. Nothing goes on from there.
var errChanged = errors.New("its SHA-256 differs; find out why before running \"make image-lock\"")

func changedHash(got lock, want locked) error {
	for _, p := range got.packages {
		if p.name == want.name {
			return fmt.Errorf("locked %s, found %s", want.sha256, p.sha256)
		}
	}
	return fmt.Errorf("locked %s, found none", want.sha256)
}

// unpack extracts the lock's packages into root. No maintainer script runs.
// base-files comes first: it holds the links from /bin to /usr/bin.
func (c debCache) unpack(ctx context.Context, l lock, root string) error {
	order := []locked{}
	for _, p := range l.packages {
		if p.name == "base-files" {
			order = append([]locked{p}, order...)
			continue
		}
		order = append(order, p)
	}
	for _, p := range order {
		sum, err := fileSHA256(c.path(p))
		if err != nil {
			return err
		}
		if sum != p.sha256 {
			return fmt.Errorf("%s is damaged: remove it and build again", c.path(p))
		}
		if err := command(ctx, "dpkg-deb", "--extract", c.path(p), root); err != nil {
			return fmt.Errorf("unpack %s %s: %w", p.name, p.version, err)
		}
	}
	return merged(root)
}

// merged fails if a package replaced a link such as /lib by a directory: half
// of the system would not find the other.
func merged(root string) error {
	for _, name := range []string{"bin", "sbin", "lib"} {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil {
			return fmt.Errorf("look for the packages' links: %w", err)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			return fmt.Errorf("a package made a directory of /%s, which must be a link to /usr/%[1]s", name)
		}
	}
	return nil
}

// splitArchiveName takes name_version_arch.deb apart (":" is written %3a).
func splitArchiveName(file string) (name, version, arch string, err error) {
	parts := strings.Split(strings.TrimSuffix(file, ".deb"), "_")
	if !strings.HasSuffix(file, ".deb") || len(parts) != 3 {
		return "", "", "", fmt.Errorf("%s is not the name of a package archive", file)
	}
	version, err = url.PathUnescape(parts[1])
	if err != nil {
		return "", "", "", fmt.Errorf("package archive %s: %w", file, err)
	}
	return parts[0], version, parts[2], nil
}

func fileSHA256(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
