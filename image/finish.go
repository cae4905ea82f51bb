package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"antler/image/debian"
)

// hashStrings is a short name for a list of inputs.
func hashStrings(first string, lists ...[]string) string {
	h := sha256.New()
	fmt.Fprintln(h, first)
	for _, list := range lists {
		fmt.Fprintf(h, "%d %q\n", len(list), list)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// inputs tells one build from another: this program (with the files embedded
// in it), its flags, image/init, and the binaries that go into the image.
func (b build) inputs() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	files := []string{self, filepath.Join(b.bin, "antlerd"), filepath.Join(b.bin, "antlerctl")}
	sources, err := filepath.Glob("image/init/*.go")
	if err != nil {
		return "", err
	}
	var sums []string
	for _, file := range append(files, sources...) {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(data)))
	}
	return hashStrings(fmt.Sprint(b.stateMiB, b.compress), sums, debian.Sources(suite)), nil
}

// upToDate is true when the image in out was made from the same inputs.
func (b build) upToDate() bool {
	key, err := b.inputs()
	if err != nil {
		return false
	}
	for _, name := range []string{"antler.img", "vmlinuz", "initrd.img", "cmdline", "packages.txt"} {
		if _, err := os.Stat(filepath.Join(b.out, name)); err != nil {
			return false
		}
	}
	last, err := os.ReadFile(filepath.Join(b.out, "inputs"))
	return err == nil && string(last) == key
}

// finish writes the package list, says what takes the room, and records the
// inputs: last, so that an interrupted build is made again.
func (b build) finish(base, root string) error {
	list, err := os.ReadFile(filepath.Join(base, "packages.txt"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.out, "packages.txt"), list, 0o644); err != nil {
		return err
	}
	if err := printSizes(root); err != nil {
		return err
	}
	key, err := b.inputs()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.out, "inputs"), []byte(key), 0o644)
}

// printSizes shows the ten largest parts of the root, unpacked.
func printSizes(root string) error {
	sizes := map[string]int64{}
	var total int64
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += info.Size()
		sizes[part(path[len(root)+1:])] += info.Size()
		return nil
	})
	if err != nil {
		return err
	}
	names := make([]string, 0, len(sizes))
	for name := range sizes {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(sizes[b] - sizes[a]) })
	fmt.Printf("image: the root holds %d MiB, most of it in\n", total/mib)
	for _, name := range names[:min(10, len(names))] {
		fmt.Printf("image: %6.1f MiB  %s\n", float64(sizes[name])/mib, name)
	}
	return nil
}

// part groups a path under a name worth a line of its own: a large program,
// or the directory three levels down.
func part(path string) string {
	parts := []string{}
	for dir := path; dir != "."; dir = filepath.Dir(dir) {
		parts = append(parts, filepath.Base(dir))
	}
	slices.Reverse(parts)
	return filepath.Join(parts[:min(3, len(parts))]...)
}
