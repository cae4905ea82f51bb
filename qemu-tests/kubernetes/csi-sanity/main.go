// Command csi-sanity runs the CSI project's own tests of a driver inside a
// guest, and writes the outcome of each, a line to a test:
//
//	csi-sanity SOCKET DIR REPORT
//
// SOCKET is the driver's, DIR below kubelet's directory is where volumes are
// staged and published. A line of REPORT is passed, failed, skipped or pending,
// the test's name, and what went wrong, with tabs between them.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
)

// outcome is what ginkgo needs of a testing.T.
type outcome struct{ failed bool }

// Fail implements ginkgo.GinkgoTestingT.
func (o *outcome) Fail() { o.failed = true }

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: csi-sanity SOCKET DIR REPORT")
		os.Exit(2)
	}

	socket, dir, report := os.Args[1], os.Args[2], os.Args[3]

	err := os.MkdirAll(dir, 0o755)
	if err != nil {
		fmt.Fprintln(os.Stderr, "csi-sanity:", err)
		os.Exit(2)
	}

	config := sanity.NewTestConfig()
	config.Address = "unix://" + socket
	config.TargetPath, config.StagingPath = filepath.Join(dir, "target"), filepath.Join(dir, "staging")
	config.TestVolumeSize = 1 << 30
	config.TestNodeVolumeAttachLimit = true
	config.TestVolumeParameters = map[string]string{"copies": "2"}
	config.TestVolumeMutableParameters = map[string]string{"trashTime": "2h", "archiveTime": "1d"}

	ginkgo.ReportAfterSuite("write the report", func(r types.Report) {
		err := os.WriteFile(report, []byte(lines(r)), 0o644)
		if err != nil {
			fmt.Fprintln(os.Stderr, "csi-sanity:", err)
		}
	})

	var all outcome

	sanity.Test(&all, config)

	if all.failed {
		os.Exit(1)
	}
}

func lines(r types.Report) string {
	var b strings.Builder

	flat := strings.NewReplacer("\n", " ", "\t", " ")

	for _, spec := range r.SpecReports {
		if spec.LeafNodeType == types.NodeTypeIt {
			fmt.Fprintf(&b, "%s\t%s\t%.300s\n", spec.State, flat.Replace(spec.FullText()), flat.Replace(spec.Failure.Message))
		}
	}

	return b.String()
}
