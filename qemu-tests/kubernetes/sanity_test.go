//go:build vm

package kubernetes

import (
	"strings"

	"antler/qemu-tests/lab"
	"antler/services/kubernetes"
	"antler/services/node/config"
)

// sanity runs csi-sanity on a node that doesn't serve, over the socket that
// kubelet uses.
func (k *trial) sanity() {
	const report = "/run/csi-sanity.report"

	socket := kubernetes.SocketPath(config.DefaultKubeletDir)
	k.run("%s/csi-sanity %s %s/sanity %s > /run/csi-sanity.log 2>&1; true", lab.ProgramDir, socket, config.DefaultKubeletDir, report)

	states := map[string]int{}

	for line := range strings.Lines(k.run("cat %s", report)) {
		state, rest, found := strings.Cut(strings.TrimSpace(line), "\t")
		if !found {
			continue
		}

		name, problem, _ := strings.Cut(rest, "\t")
		states[state]++

		switch state {
		case "passed":
		case "pending":
			// csi-test itself has switched it off.
			k.cluster.Say("pending in csi-test: %s", name)
		case "skipped":
			// A volume group's snapshots would have to be of one moment, and MooseFS
			// has no such call for several directories.
			if !strings.Contains(name, "GroupController Service") {
				k.fail("skipped: %s: %s", name, problem)
			}
		default:
			k.fail("%s: %s: %s", state, name, problem)
		}
	}

	for state, count := range states {
		k.result.Figures[state] = count
	}

	if states["passed"] < 90 {
		k.fail("only %d tests ran and passed: %s", states["passed"], k.run("tail -n 30 /run/csi-sanity.log"))
	}

	k.noneLeft()
}

// noneLeft checks that nothing is mounted and nothing is left behind.
func (k *trial) noneLeft() {
	left := k.run("grep ' %s/' /proc/self/mountinfo; true", config.DefaultKubeletDir)
	if strings.Contains(left, " - fuse") {
		k.fail("mounts are left below %s: %s", config.DefaultKubeletDir, left)
	}
}
