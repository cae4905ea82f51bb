//go:build vm

package failover

import (
	"context"
	"fmt"
	"testing"
	"time"
)

const (
	// seedFiles are written one by one, a copy is what MooseFS's own snapshots make
	// of them in one step.
	seedFiles, copyFiles = 1000, 10000
	// fillTime is for all of it.
	fillTime = 40 * time.Minute
)

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

		run(fmt.Sprintf("cd %s && mkdir seed copy && i=0; while [ $i -lt %d ]; do echo $i > seed/$i; i=$((i+1)); done; cd /", filled.dir, seedFiles))

		for i := range copyFiles / seedFiles {
			run(fmt.Sprintf("mfsmakesnapshot %[1]s/seed %[1]s/copy/%[2]d", filled.dir, i))
		}
	}

	for ; filled.copies*copyFiles < files; filled.copies++ {
		run(fmt.Sprintf("mfsmakesnapshot %[1]s/copy %[1]s/%[2]d", filled.dir, filled.copies))

		if filled.copies%10 == 9 {
			suite.cluster.Say("%d files", (filled.copies+1)*copyFiles)
		}
	}
}
