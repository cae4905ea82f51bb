package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"antler/image/layout"
)

// waitForParts looks until one disk shows all our partitions.
func waitForParts(block string, patience time.Duration) (map[string]string, error) {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		parts, err := findParts(block)
		if err != nil || parts != nil {
			return parts, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("no disk with partitions %s after %v: flash the image again", strings.Join(layout.Labels(), ", "), patience)
		}
	}
}

// findParts returns label to device name of the disk that has all our
// partitions, or nil when none has. Two such disks are an error: starting from
// the wrong one would bring back the state of another day or another node.
func findParts(block string) (map[string]string, error) {
	uevents, err := filepath.Glob(filepath.Join(block, "*", "uevent"))
	if err != nil {
		return nil, err
	}
	disks := map[string]map[string]string{}
	for _, path := range uevents {
		dir := filepath.Dir(path)
		label, err := partName(path)
		if err != nil || !slices.Contains(layout.Labels(), label) {
			continue
		}
		disk, err := diskOf(dir)
		if err != nil {
			return nil, err
		}
		if disks[disk] == nil {
			disks[disk] = map[string]string{}
		}
		disks[disk][label] = filepath.Base(dir)
	}
	var complete []string
	for disk, parts := range disks {
		if len(parts) == len(layout.Labels()) {
			complete = append(complete, disk)
		}
	}
	slices.Sort(complete)
	switch len(complete) {
	case 0:
		return nil, nil
	case 1:
		return disks[complete[0]], nil
	}
	return nil, fmt.Errorf("disks %s all hold an Antler system: leave only the one to start from", strings.Join(complete, ", "))
}

// partName is the GPT label, which the kernel writes as PARTNAME=.
func partName(uevent string) (string, error) {
	data, err := os.ReadFile(uevent)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "PARTNAME="); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return "", nil
}

// diskOf names the disk a partition is on: the directory above it in sysfs.
func diskOf(partition string) (string, error) {
	target, err := filepath.EvalSymlinks(partition)
	if err != nil {
		return "", err
	}
	return filepath.Base(filepath.Dir(target)), nil
}
