package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
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
// in it), its flags, image/init, and the binaries that go into the image. The file
// of k3s is known by its sum.
func (b build) inputs() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	files := []string{self}
	for _, name := range programs {
		files = append(files, filepath.Join(b.bin, name))
	}
	sources, err := filepath.Glob("image/[ilsv]*/*.go")
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
	k3s, err := b.k3s.inputs()
	if err != nil {
		return "", err
	}
	return hashStrings(fmt.Sprint(b.stateMiB, b.compress, b.strict, b.release, b.version), sums, k3s), nil
}

// upToDate is true when the image in out was made from the same inputs.
func (b build) upToDate() bool {
	key, err := b.inputs()
	if err != nil {
		return false
	}
	for _, name := range []string{"antler.img", "vmlinuz", "initrd.img", "cmdline", "packages.lock", "sizes.txt", "antler.spdx.json"} {
		if _, err := os.Stat(filepath.Join(b.out, name)); err != nil {
			return false
		}
	}
	last, err := os.ReadFile(filepath.Join(b.out, "inputs"))
	return err == nil && string(last) == key
}

// finish writes the package list, says what takes the room, and records the
// inputs: last, so that an interrupted build is made again.
func (b build) finish(set lock, root string) error {
	if err := os.WriteFile(filepath.Join(b.out, "packages.lock"), []byte(set.String()), 0o644); err != nil {
		return err
	}
	if err := b.writeSBOM(set); err != nil {
		return err
	}
	if err := b.weigh(root); err != nil {
		return err
	}
	key, err := b.inputs()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.out, "inputs"), []byte(key), 0o644)
}
