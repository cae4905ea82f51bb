package talos

import (
	"github.com/containerd/containerd/v2/pkg/cap"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"antler/services/containers"
	"antler/services/node/config"
)

const (
	// Root of the extension on the node: Talos has it there by the service's name.
	Root = "/usr/local/lib/containers/antler"
	// Helper is DRBD's handler as the node's kernel finds it: the immutable root is
	// where the kernel looks for what it executes, and it is not mounted noexec.
	Helper = Root + "/usr/bin/antler-fence"
	// configDir is where antlerd's container finds its configuration.
	configDir = config.RunDir + "/etc"
)

// Places of a Talos node.
func Places() containers.Places {
	places := containers.DefaultPlaces(config.RunDir)
	places.RootFS, places.Usr = Root+places.RootFS, Root+places.Usr

	return places
}

// dropped are the capabilities that Talos gives to nobody: with them runc would
// refuse to start anything.
var dropped = map[string]bool{"CAP_SYS_BOOT": true, "CAP_SYS_MODULE": true}

// oomScore keeps antlerd alive longer than what it supervises, as on the appliance.
const oomScore = -900

// openFiles is antlerd's limit.
const openFiles = 1 << 20

// priority of antlerd, as a nice value: it keeps a lease that is counted in tenths
// of seconds. cpuWeight is that of its control group beside those of all others,
// which have about 100: a nice value counts within one group only.
const (
	priority  = -20
	cpuWeight = "200"
)

// Spec is the container of antlerd with that id. It sees the node's processes,
// network, devices and mounts, and what it mounts below the state directory reaches
// the node.
func Spec(id string, args []string, kubelet string) *specs.Spec {
	var capabilities []string

	for _, name := range cap.Known() {
		if !dropped[name] {
			capabilities = append(capabilities, name)
		}
	}

	score := oomScore

	return &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: Root, Readonly: true},
		Process: &specs.Process{
			Args: args,
			Cwd:  "/",
			Env:  []string{"PATH=/usr/sbin:/usr/bin", "LC_ALL=C"},
			Capabilities: &specs.LinuxCapabilities{
				Bounding: capabilities, Effective: capabilities, Permitted: capabilities,
			},
			OOMScoreAdj: &score,
			Rlimits:     []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: openFiles, Soft: openFiles}},
			Scheduler:   &specs.Scheduler{Policy: specs.SchedOther, Nice: priority},
		},
		Mounts: mounts(kubelet),
		Linux: &specs.Linux{
			CgroupsPath: "/" + id,
			// Of its own it has the mounts alone, and what it mounts is shared.
			Namespaces:        []specs.LinuxNamespace{{Type: specs.MountNamespace}},
			RootfsPropagation: "rshared",
			Resources: &specs.LinuxResources{
				Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}},
				Unified: map[string]string{"cpu.weight": cpuWeight},
			},
		},
	}
}

func mounts(kubelet string) []specs.Mount {
	bind := func(path string, options ...string) specs.Mount {
		return specs.Mount{Destination: path, Source: path, Type: "bind", Options: append([]string{"rbind"}, options...)}
	}
	from := func(source, path string, options ...string) specs.Mount {
		m := bind(path, options...)
		m.Source = source

		return m
	}

	out := []specs.Mount{
		{Destination: "/proc", Source: "proc", Type: "proc", Options: []string{"nosuid", "nodev", "noexec"}},
		bind("/dev", "rw"),
		bind("/sys", "rw"),
		{Destination: "/tmp", Source: "tmpfs", Type: "tmpfs", Options: []string{"nosuid", "nodev", "noexec", "mode=1777", "size=16m"}},
		bind("/run/containerd", "rw"),
		bind(config.RunDir, "rshared", "rw"),
		bind(config.StateDir, "rshared", "rw"),
		from(configDir, "/etc/antler", "ro"),
		// drbdmeta and drbdsetup lock and remember there.
		from(config.RunDir+"/drbd-lock", "/var/lock", "rw"),
		from(config.RunDir+"/drbd-run", "/var/run/drbd", "rw"),
		bind("/usr/lib/modules", "ro"),
	}

	if kubelet != "" {
		out = append(out, bind(kubelet, "rshared", "rw"))
	}

	return out
}
