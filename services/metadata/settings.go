package metadata

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"antler/services/containers"
	"antler/services/node/config"
)

// Container is the name of mfsmaster's container.
const Container = "mfsmaster"

// DataPath is the master's data directory, under the same name on this host and
// in its container.
const DataPath = config.MetadataPath + "/mfs"

// masterSpec is mfsmaster's container. Only its data path is writable: what it
// dumps elsewhere in distress ends with the container and can't come back as
// newer metadata.
func masterSpec(cfg *config.Config, generation uint64) containers.ContainerSpecSpec {
	return containers.ContainerSpecSpec{
		// -a restores from changelogs whatever a crash left.
		Args: []string{"/usr/sbin/mfsmaster", "-f", "-a", "-c", "/etc/mfs/mfsmaster.cfg", "start"},
		Files: map[string]containers.File{
			// Read before it becomes mfs, and after.
			"mfs/mfsmaster.cfg":   {Content: masterSettings(cfg.Cluster), Owner: containers.MFSUser},
			"mfs/mfsexports.cfg":  {Content: Exports(cfg.Cluster), Owner: containers.MFSUser},
			"mfs/mfstopology.cfg": {World: true},
		},
		// The container is made before the replica is mounted.
		Mounts:       []containers.Mount{{Source: config.MetadataParent, Destination: config.MetadataParent, Slave: true}},
		Capabilities: []string{"CAP_SYS_NICE"},
		// Its controller decides.
		Restart:         false,
		RestartOnChange: true,
		Generation:      generation,
		StopTimeout:     stopSeconds,
		Spare:           true,
		// Every client waits for it, and it is one thread.
		Nice: masterNice,
		// It looks after chunks 50 times a second, and polls for 10 ms.
		TimerSlack:  10 * time.Millisecond,
		OOMScoreAdj: -800,
	}
}

// stopSeconds that mfsmaster has to save its metadata; see StopDeadline in the
// table of times.
const stopSeconds = 10

const masterNice = -10

func masterSettings(cluster config.Cluster) string {
	// Mode 2 flushes the changelog before a client is answered; 0 does so in
	// the background, and a power cut loses what was acknowledged since.
	mode := "2"
	if cluster.Storage.Durability == config.DurabilityLoseSecondsOnPowerCut {
		mode = "0"
	}

	var b strings.Builder

	for _, line := range [][2]string{
		{"WORKING_USER", "mfs"},
		{"WORKING_GROUP", "mfs"},
		{"DATA_PATH", DataPath},
		{"EXPORTS_FILENAME", "/etc/mfs/mfsexports.cfg"},
		{"TOPOLOGY_FILENAME", "/etc/mfs/mfstopology.cfg"},
		{"LOCK_MEMORY", "0"},
		// As its container was started; -19, the default, would starve the node's
		// own supervision.
		{"NICE_LEVEL", strconv.Itoa(masterNice)},
		// The score is set from outside.
		{"DISABLE_OOM_KILLER", "0"},
		{"CHANGELOG_SAVE_MODE", mode},
		// A week of changelogs: one a hour.
		{"BACK_LOGS", "168"},
		{"BACK_META_KEEP_PREVIOUS", "2"},
		{"AUTH_CODE", cluster.ChunkserverSecret},
		// What a fault left with a copy too few is found by a walk over all chunks,
		// which by default takes at least 300 s. That is how long a chunk has one copy
		// after a master was killed while it was made.
		{"CHUNKS_LOOP_MIN_TIME", "60"},
	} {
		fmt.Fprintf(&b, "%s = %s\n", line[0], line[1])
	}

	return b.String()
}

// Exports renders mfsexports.cfg. It depends on the cluster section alone, so it
// is the same on every node: a session is resumed only if it is. Clients mount
// without the admin flag; antlerd's own mounts come from the nodes' addresses
// with another password.
func Exports(cluster config.Cluster) string {
	var b strings.Builder

	export := func(from, options, password string) {
		fmt.Fprintf(&b, "%s / rw,alldirs,%smaproot=0:0,password=%s\n", from, options, password)
	}

	for _, network := range cluster.Networks {
		if network.Addr().Is4() {
			export(network.Masked().String(), "", cluster.Password)
		}
	}

	for _, address := range nodeAddresses(cluster) {
		export(address.String(), "", cluster.Password)
		export(address.String(), "admin,", cluster.AdminPassword)
	}

	return b.String()
}

// nodeAddresses are those antlerd's own mounts may come from: the serving node
// may reach its own floating address from that very address.
func nodeAddresses(cluster config.Cluster) []netip.Addr {
	var out []netip.Addr

	for _, member := range cluster.Nodes {
		if member.Address.Is4() {
			out = append(out, member.Address)
		}
	}

	for _, floating := range cluster.Floating {
		if floating.Addr().Is4() {
			out = append(out, floating.Addr())
		}
	}

	return out
}

func inData(name string) string { return filepath.Join(DataPath, name) }
