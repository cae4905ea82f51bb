package containers

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Places on the host that containers are made of.
type Places struct {
	// RootFS is the read-only skeleton of mount points and usr-merge links.
	RootFS string
	// Usr is what becomes /usr: the host's, or an extension's own.
	Usr string
	// Run is the volatile directory: Run/containers/NAME/etc, Run/log/NAME.log.
	Run string
	// CgroupFS is where cgroup v2 is mounted, CgroupParent the group below it
	// that holds one group for each container.
	CgroupFS     string
	CgroupParent string
	// Bundles is where containerd keeps what its shims need, a directory for each
	// container.
	Bundles string
}

// DefaultPlaces are those of the appliance image.
func DefaultPlaces(run string) Places {
	return Places{
		RootFS:       "/usr/lib/antler/rootfs",
		Usr:          "/usr",
		Run:          run,
		CgroupFS:     "/sys/fs/cgroup",
		CgroupParent: "/antler",
		Bundles:      "/run/containerd/io.containerd.runtime.v2.task/" + Namespace,
	}
}

func (p Places) etc(id string) string    { return filepath.Join(p.Run, "containers", id, "etc") }
func (p Places) bundle(id string) string { return filepath.Join(p.Bundles, id) }

func (p Places) log(name string) string { return filepath.Join(p.LogDir(), name+".log") }

// LogDir holds the containers' log files.
func (p Places) LogDir() string { return filepath.Join(p.Run, "log") }

func (p Places) cgroup(id string) string {
	return filepath.Join(p.CgroupFS, p.CgroupParent, id)
}

// baseCapabilities let a daemon that starts as root become its own user, and
// read its configuration before that although it belongs to that user (so that
// a reload can read it as well). They are gone with the change of user.
var baseCapabilities = []string{"CAP_DAC_READ_SEARCH", "CAP_SETGID", "CAP_SETUID"}

// fuseMajor, fuseMinor: /dev/fuse in the kernel's devices.txt.
const fuseMajor, fuseMinor = 10, 229

// ociSpec returns the whole OCI configuration of a container.
func ociSpec(id string, spec ContainerSpecSpec, args []string, places Places) *specs.Spec {
	capabilities := slices.Concat(baseCapabilities, spec.Capabilities)
	if spec.Fuse {
		capabilities = append(capabilities, "CAP_SYS_ADMIN")
	}

	slices.Sort(capabilities)
	capabilities = slices.Compact(capabilities)

	openFiles := spec.OpenFiles
	if openFiles == 0 {
		openFiles = DefaultOpenFiles
	}

	out := &specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: places.RootFS, Readonly: true},
		// The host's network namespace also means the host's UTS name.
		Process: &specs.Process{
			Args: args,
			Cwd:  "/",
			Env:  []string{"PATH=/usr/sbin:/usr/bin", "LANG=C.UTF-8"},
			Capabilities: &specs.LinuxCapabilities{
				Bounding: capabilities, Effective: capabilities, Permitted: capabilities,
			},
			NoNewPrivileges: true,
			OOMScoreAdj:     &spec.OOMScoreAdj,
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: openFiles, Soft: openFiles}},
		},
		Mounts: ociMounts(id, spec, places),
		Linux: &specs.Linux{
			CgroupsPath:   filepath.Join(places.CgroupParent, id),
			Namespaces:    []specs.LinuxNamespace{{Type: specs.IPCNamespace}, {Type: specs.MountNamespace}},
			MaskedPaths:   []string{"/proc/kcore", "/proc/keys", "/proc/timer_list"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
			Resources: &specs.LinuxResources{
				Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}},
				Unified: map[string]string{"cpu.weight": strconv.Itoa(cpuWeight(spec.Nice))},
			},
		},
	}

	if spec.Fuse {
		addFuse(out)
	} else {
		out.Linux.Namespaces = append(out.Linux.Namespaces, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}

	return out
}

// addFuse gives /dev/fuse, and a mount namespace in which a mount is passed on
// to the host through the binds that are shared. A mount has the host's process ids:
// the kernel tells it who asks by the id that the process has in the mount's own namespace,
// and mfsmount looks in /proc there for the groups that the process is in besides its first.
func addFuse(out *specs.Spec) {
	mode, major, minor := os.FileMode(fuseMode), int64(fuseMajor), int64(fuseMinor)

	out.Linux.RootfsPropagation = "rshared"
	out.Linux.Devices = []specs.LinuxDevice{{
		Path: "/dev/fuse", Type: "c", Major: major, Minor: minor, FileMode: &mode,
	}}
	out.Linux.Resources.Devices = append(out.Linux.Resources.Devices,
		specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rwm"})
}

const fuseMode = 0o600

// ociMounts lists the mounts in order: the empty tmpfs under /var/lib/antler
// comes before the binds into it, since the skeleton itself is read-only and
// can't be given more mount points.
func ociMounts(id string, spec ContainerSpecSpec, places Places) []specs.Mount {
	hidden := []string{"nosuid", "nodev", "noexec"}

	mounts := []specs.Mount{
		{Destination: "/usr", Type: "bind", Source: places.Usr, Options: []string{"rbind", "ro", "nosuid", "nodev"}},
		{Destination: "/etc", Type: "bind", Source: places.etc(id), Options: []string{"bind", "ro", "nosuid", "nodev", "noexec"}},
		{Destination: "/proc", Type: "proc", Source: "proc", Options: hidden},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "mode=755", "size=64k"}},
		{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: append(hidden, "mode=755", "size=1m")},
		{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: append(hidden, "mode=1777", "size=16m")},
		{Destination: "/var/lib/antler", Type: "tmpfs", Source: "tmpfs", Options: append(hidden, "mode=755", "size=64k")},
	}

	for _, m := range spec.Mounts {
		options := []string{"rbind", "nosuid", "nodev"}

		if m.ReadOnly {
			options = append(options, "ro")
		}

		options = append(options, propagation(m))

		mounts = append(mounts, specs.Mount{Destination: m.Destination, Type: "bind", Source: m.Source, Options: options})
	}

	return mounts
}

func propagation(m Mount) string {
	switch {
	case m.Shared:
		return "rshared"
	case m.Slave:
		return "rslave"
	default:
		return "rprivate"
	}
}
