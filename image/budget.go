package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// share is a part of the image with the most room it may take.
type share struct {
	name string
	// prefixes of paths below the root; a file belongs to the first share that
	// claims it.
	prefixes []string
	budget   float64 // MiB, unpacked
}

// budget is what each part of the root may take. A part over its budget fails
// the build: growth is decided here, with a reason in the commit, and not found
// out when a card is full. The numbers leave a tenth over what the parts need,
// and antler more: it is young.
var budget = []share{
	{"kernel modules", []string{"usr/lib/modules/"}, 204},
	{"device trees", []string{"usr/lib/linux-image-"}, 1},
	{"containerd and runc", []string{"usr/bin/containerd", "usr/bin/ctr", "usr/sbin/runc"}, 85},
	{"antler", []string{"usr/bin/antler", "usr/lib/antler/"}, 60},
	{"k3s", []string{"usr/local/bin/k3s"}, k3sBudget},
	{"MooseFS", []string{"usr/sbin/mfs", "usr/bin/mfs", "usr/lib/aarch64-linux-gnu/libmfs", "etc/mfs/"}, 6},
	{"DRBD", []string{"usr/lib/drbd/", "usr/sbin/drbd"}, 3},
	{"systemd and udev", []string{"usr/lib/systemd/", "usr/lib/aarch64-linux-gnu/systemd/", "usr/lib/udev/", "usr/bin/systemd", "usr/bin/udevadm", "usr/bin/journalctl", "usr/bin/networkctl"}, 18},
	{"libraries", []string{"usr/lib/aarch64-linux-gnu/"}, 36},
	{"licences", []string{"usr/share/doc/", "usr/share/common-licenses/"}, 4},
	{"all else", []string{""}, 33},
}

// Limits of what is written to the partitions, in MiB.
const (
	squashBudget = 200 // of rootSize, where there is no k3s
	k3sBudget    = 80  // for k3s, which is optional, packed in itself, and does not shrink
	bootBudget   = 52  // of bootSize, with one slot's entry of up to 46
)

// usage is how much of the image each part takes, in bytes.
type usage struct {
	parts        []int64 // as in budget
	squash, boot int64
}

// measure adds up the regular files of the root.
func measure(root string) ([]int64, error) {
	parts := make([]int64, len(budget))
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		parts[shareOf(path[len(root)+1:])] += info.Size()
		return nil
	})
	return parts, err
}

func shareOf(path string) int {
	return slices.IndexFunc(budget, func(s share) bool {
		return slices.ContainsFunc(s.prefixes, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
	})
}

// squashBudget is more where k3s is in the image.
func (u usage) squashBudget() int {
	if u.parts[shareOf("usr/local/bin/k3s")] > 0 {
		return squashBudget + k3sBudget
	}
	return squashBudget
}

func (u usage) String() string {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "MiB\tbudget\t  \n")
	var total int64
	for i, s := range budget {
		fmt.Fprintf(w, "%.1f\t%.0f\t  %s\n", mibs(u.parts[i]), s.budget, s.name)
		total += u.parts[i]
	}
	fmt.Fprintf(w, "%.1f\t\t  the root, unpacked\n", mibs(total))
	fmt.Fprintf(w, "%.1f\t%d\t  the root, packed\n", mibs(u.squash), u.squashBudget())
	fmt.Fprintf(w, "%.1f\t%d\t  files of the boot partition\n", mibs(u.boot), bootBudget)
	_ = w.Flush()
	// The alignment leaves blanks where a name ends a line.
	return strings.ReplaceAll(out.String(), " \n", "\n")
}

// check names every part that is over its budget.
func (u usage) check() error {
	var errs []error
	over := func(name string, bytes int64, limit float64) {
		if mibs(bytes) > limit {
			errs = append(errs, fmt.Errorf("%s: %.1f MiB, %.0f are allowed: prune (packages.go) or raise the budget (budget.go) and say why",
				name, mibs(bytes), limit))
		}
	}
	for i, s := range budget {
		over(s.name, u.parts[i], s.budget)
	}
	over("the root, packed", u.squash, float64(u.squashBudget()))
	over("files of the boot partition", u.boot, bootBudget)
	return errors.Join(errs...)
}

func mibs(bytes int64) float64 { return float64(bytes) / mib }

// weigh prints the table of what takes the room, writes it to sizes.txt, and
// fails where it is too much.
func (b build) weigh(root string) error {
	parts, err := measure(root)
	if err != nil {
		return err
	}
	u := usage{parts: parts}
	shared, entry, err := bootFiles(b.out)
	if err != nil {
		return err
	}
	for _, file := range append(shared, entry...) {
		if err := addSize(&u.boot, file); err != nil {
			return err
		}
	}
	if err := addSize(&u.squash, filepath.Join(b.out, "root.squashfs")); err != nil {
		return err
	}
	for line := range strings.Lines(u.String()) {
		fmt.Print("image: ", line)
	}
	if err := os.WriteFile(filepath.Join(b.out, "sizes.txt"), []byte(u.String()), 0o644); err != nil {
		return err
	}
	return u.check()
}

func addSize(to *int64, file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	*to += info.Size()
	return nil
}
