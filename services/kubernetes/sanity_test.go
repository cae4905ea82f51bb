package kubernetes

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/stretchr/testify/require"
)

// TestSanity runs the whole of csi-sanity. A volume group's snapshots would have
// to be of one moment, and MooseFS has no such call for several directories, so
// the group controller isn't offered: its tests are the only ones that may be
// skipped.
func TestSanity(t *testing.T) {
	b := newBench(t)
	b.controller.MaxVolumes, b.n1.MaxVolumes = 3, 3

	config := sanity.NewTestConfig()
	config.Address = b.serve(t)
	config.TargetPath = filepath.Join(b.n1.Kubelet, "target")
	config.StagingPath = filepath.Join(b.n1.Kubelet, "staging")
	config.TestNodeVolumeAttachLimit = true
	config.TestVolumeParameters = map[string]string{"copies": "2"}
	config.TestVolumeMutableParameters = map[string]string{"trashTime": "2h", "archiveTime": "1d"}

	var report types.Report

	ginkgo.ReportAfterSuite("keep the report", func(r types.Report) { report = r })
	sanity.Test(t, config)

	ran := 0

	for _, spec := range report.SpecReports {
		switch {
		case spec.LeafNodeType != types.NodeTypeIt:
		case spec.State == types.SpecStatePassed:
			ran++
		case spec.State == types.SpecStateSkipped:
			group := func(text string) bool { return strings.Contains(text, "GroupController Service") }
			require.True(t, slices.ContainsFunc(spec.ContainerHierarchyTexts, group), "skipped: %s: %s", spec.FullText(), spec.Failure.Message)
		case spec.State == types.SpecStatePending:
			// csi-test itself has switched it off.
		}
	}

	require.Greater(t, ran, 90, "csi-sanity ran")
	t.Logf("csi-sanity: %d passed", ran)
}
