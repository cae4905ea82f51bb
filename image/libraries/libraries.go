// Package libraries knows which shared libraries the programs of a Debian tree
// need. It reads what the loader reads (DT_NEEDED, DT_RUNPATH, PT_INTERP), so
// nobody keeps a list by hand.
package libraries

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Tree is a root file system with /usr merged.
type Tree struct {
	Root string
	// Arch in Go's words: arm64 or amd64.
	Arch string
}

// machine is what the ELF files of an architecture are for, and where its
// loader looks for libraries without a cache, which a maintainer script would
// have made.
type machine struct {
	kind elf.Machine
	dirs []string
}

func machineOf(arch string) (machine, error) {
	switch arch {
	case "arm64":
		return machine{elf.EM_AARCH64, []string{"usr/lib/aarch64-linux-gnu", "usr/lib"}}, nil
	case "amd64":
		return machine{elf.EM_X86_64, []string{"usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib"}}, nil
	}
	return machine{}, fmt.Errorf("architecture %s is not known: use arm64 or amd64", arch)
}

// Check fails when a program or library in the tree needs a library that is
// not there: it would be found out only on the day the program is called.
func (t Tree) Check() error {
	var missing []string
	err := filepath.WalkDir(t.Root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, ".ko") {
			return err
		}
		_, lacks, err := t.needs(strings.TrimPrefix(path, t.Root+"/"))
		missing = append(missing, lacks...)
		return err
	})
	return errors.Join(err, lacking(missing))
}

// Needed returns the libraries and loaders that the programs need, directly or
// through one another, without the programs themselves. All paths are relative
// to the root, which they start from: "usr/sbin/mfsmaster".
func (t Tree) Needed(programs []string) ([]string, error) {
	var found, missing []string
	for todo := slices.Clone(programs); len(todo) > 0; {
		path := todo[0]
		todo = todo[1:]
		needs, lacks, err := t.needs(path)
		if err != nil {
			return nil, err
		}
		missing = append(missing, lacks...)
		for _, lib := range needs {
			if !slices.Contains(found, lib) {
				found, todo = append(found, lib), append(todo, lib)
			}
		}
	}
	slices.Sort(found)
	return found, lacking(missing)
}

func lacking(missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("libraries are missing:\n%s", strings.Join(slices.Compact(missing), "\n"))
}

// needs returns the files that one file needs directly, and a line for each
// that is not there.
func (t Tree) needs(path string) (found, missing []string, err error) {
	m, err := machineOf(t.Arch)
	if err != nil {
		return nil, nil, err
	}
	file, err := read(filepath.Join(t.Root, path), m.kind)
	if err != nil {
		return nil, nil, fmt.Errorf("read /%s: %w", path, err)
	}
	if file.loader != "" {
		found = append(found, merged(file.loader))
	}
	for _, lib := range file.needs {
		at := t.find(m, filepath.Dir(path), file.runpath, lib)
		if at == "" {
			missing = append(missing, "/"+path+" needs "+lib)
			continue
		}
		found = append(found, at)
	}
	return found, missing, nil
}

// merged is where a path of the time before merged /usr leads to.
func merged(path string) string {
	path = strings.TrimPrefix(path, "/")
	top, _, _ := strings.Cut(path, "/")
	if slices.Contains([]string{"bin", "sbin", "lib", "lib64"}, top) {
		return "usr/" + path
	}
	return path
}

// find returns the path of a library below the root, or "".
func (t Tree) find(m machine, origin string, runpath []string, lib string) string {
	dirs := make([]string, 0, len(runpath)+len(m.dirs)+1)
	for _, p := range runpath {
		if rest, ok := strings.CutPrefix(p, "$ORIGIN"); ok {
			dirs = append(dirs, origin+rest)
			continue
		}
		dirs = append(dirs, merged(p))
	}
	dirs = append(dirs, m.dirs...)
	// A private library may lean on its neighbour, which the program they
	// belong to has loaded before it (systemd's two).
	dirs = append(dirs, origin)
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(t.Root, dir, lib)); err == nil {
			return filepath.Join(dir, lib)
		}
	}
	return ""
}

// file is what the loader reads of a program or library.
type file struct {
	loader         string
	needs, runpath []string
}

// read returns nothing for a file that is not ELF.
func read(path string, kind elf.Machine) (file, error) {
	f, err := os.Open(path)
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(f, magic); err != nil || !bytes.Equal(magic, []byte(elf.ELFMAG)) {
		return file{}, nil //nolint:nilerr // too short for a program: it is a file of another kind
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return file{}, err
	}
	if e.Machine != kind {
		return file{}, fmt.Errorf("is for %s, not %s", e.Machine, kind)
	}
	if e.Section(".dynamic") == nil {
		return file{}, nil
	}
	return dynamic(e)
}

func dynamic(e *elf.File) (file, error) {
	var out file
	var err error
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(p.Open())
		if err != nil {
			return file{}, err
		}
		out.loader = string(bytes.TrimRight(name, "\x00"))
	}
	out.needs, err = e.ImportedLibraries()
	if err != nil {
		return file{}, err
	}
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		paths, err := e.DynString(tag)
		if err != nil {
			return file{}, err
		}
		for _, p := range paths {
			out.runpath = append(out.runpath, strings.Split(p, ":")...)
		}
	}
	return out, nil
}
