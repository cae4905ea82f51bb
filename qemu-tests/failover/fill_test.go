//go:build vm

package failover

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"antler/qemu-tests/lab"
)

const (
	// seedFiles are written one by one; MooseFS's own snapshots make ten of each, and
	// ten of each again, which is a copy; and then whole copies.
	seedFiles = 100
	copyFiles = 100 * seedFiles
	// fillTime is for all of it.
	fillTime = 40 * time.Minute
)

// sizes are the numbers of files that are asked for (FILES, "0"), the least first:
// files are only ever added.
func sizes() ([]int, error) {
	var all []int

	for _, word := range strings.Fields(cmp.Or(os.Getenv("FILES"), "0")) {
		files, err := strconv.Atoi(word)
		if err != nil || files < 0 {
			return nil, fmt.Errorf("FILES is %q: give numbers", os.Getenv("FILES"))
		}

		all = append(all, files)
	}

	slices.Sort(all)

	return slices.Compact(all), nil
}

// mostFiles is the largest of them. What isn't a number is refused when it is used.
func mostFiles() int {
	all, _ := sizes()

	return slices.Max(append(all, 0))
}

// roomFor many files: in memory a file takes some 250 bytes, on a replica there are up
// to four copies of all metadata, and a week of changes.
func roomFor(files int, options *lab.Options) {
	if files < copyFiles {
		return
	}

	options.MemoryMiB = 2048 + files>>11
	options.ReplicaSize = lab.ReplicaSize + int64(files)<<10
}

// filled is where the files are, and how many copies there are.
var filled struct {
	dir    string
	copies int
}

// fill sees to it that there are at least as many files in the cluster.
func fill(b *testing.B, files int) {
	b.Helper()

	if files == 0 {
		return
	}

	ctx, cancel := context.WithTimeout(b.Context(), fillTime)
	defer cancel()

	run := func(command string) {
		_, err := suite.cluster.Machine("n3").Console().Run(ctx, command)
		if err != nil {
			b.Fatal(err)
		}
	}

	if filled.dir == "" {
		serving, err := suite.cluster.AwaitServing(ctx, "")
		if err != nil {
			b.Fatal(err)
		}

		// Its quota counts a block of 64 KiB for each file.
		filled.dir, err = suite.cluster.CreateVolume(ctx, serving, "many", 1<<40)
		if err != nil {
			b.Fatal(err)
		}

		run(fmt.Sprintf("(set -e; cd %s; mkdir seed tens copy; i=0; while [ $i -lt %d ]; do echo $i > seed/$i; i=$((i+1)); done)", filled.dir, seedFiles))

		for i := range 10 {
			run(fmt.Sprintf("mfsmakesnapshot %[1]s/seed %[1]s/tens/%[2]d", filled.dir, i))
		}

		for i := range 10 {
			run(fmt.Sprintf("mfsmakesnapshot %[1]s/tens %[1]s/copy/%[2]d", filled.dir, i))
		}
	}

	for ; filled.copies*copyFiles < files; filled.copies++ {
		run(fmt.Sprintf("mfsmakesnapshot %[1]s/copy %[1]s/%[2]d", filled.dir, filled.copies))

		if filled.copies%10 == 9 {
			suite.cluster.Say("%d files", (filled.copies+1)*copyFiles)
		}
	}
}
