package moosefs

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"antler/services/containers"
	"antler/services/node/config"
	"antler/services/volume"
)

// Names of the containers, and of their resources.
const (
	ChunkserverContainer = "mfschunkserver"
	MetaloggerContainer  = "mfsmetalogger"
	ClientMountContainer = "mfsmount"
	AdminMountContainer  = "mfsmount-admin"
)

// dataPath is every daemon's data path inside its container.
const dataPath = "/var/lib/mfs"

// setting is one line of a MooseFS configuration file.
type setting struct{ key, value string }

// lines writes MooseFS's "KEY = value" form.
func lines(settings []setting) string {
	var out strings.Builder

	for _, s := range settings {
		fmt.Fprintf(&out, "%s = %s\n", s.key, s.value)
	}

	return out.String()
}

// FloatingIPv4 returns the address at which the master is reached. MooseFS
// speaks IPv4 only; without such an address nothing here can run.
func FloatingIPv4(cluster config.Cluster) (netip.Addr, error) {
	for _, prefix := range cluster.Floating {
		if prefix.Addr().Is4() {
			return prefix.Addr(), nil
		}
	}

	return netip.Addr{}, fmt.Errorf("cluster %q has no floating IPv4 address, and MooseFS speaks nothing else: add one to cluster.floating", cluster.Name)
}

// MasterAddress returns where clients reach the master.
func MasterAddress(cluster config.Cluster) (string, error) {
	floating, err := FloatingIPv4(cluster)
	if err != nil {
		return "", err
	}

	return netip.AddrPortFrom(floating, config.MasterClientPort).String(), nil
}

// common are the settings of both daemons. BIND_HOST: the node that serves
// reaches the floating address from that very address unless told otherwise,
// and the master takes what comes from another address for another server.
func common(self config.Member, floating netip.Addr) []setting {
	return []setting{
		{"WORKING_USER", "mfs"},
		{"WORKING_GROUP", "mfs"},
		{"DATA_PATH", dataPath},
		{"LOCK_MEMORY", "0"},
		// -19, the default, would starve the node's own supervision.
		{"NICE_LEVEL", "0"},
		// The score is set from outside, where the privilege for it is.
		{"DISABLE_OOM_KILLER", "0"},
		{"MASTER_HOST", floating.String()},
		{"BIND_HOST", self.Address.String()},
		{"MASTER_RECONNECTION_DELAY", "1"},
	}
}

// storeReserve is left free on each chunk store: room for the file system's own
// needs. MooseFS's default of 256 MiB is a lot for a small disk.
const (
	deviceReserve = "64MiB"
	pathReserve   = "256MiB"
)

func chunkserverSpec(cfg *config.Config, stores []Store) (containers.ContainerSpecSpec, error) {
	floating, err := FloatingIPv4(cfg.Cluster)
	if err != nil {
		return containers.ContainerSpecSpec{}, err
	}

	self := cfg.Self()
	settings := append(common(self, floating),
		setting{"MASTER_PORT", strconv.Itoa(config.MasterChunkserverPort)},
		setting{"AUTH_CODE", cfg.Cluster.ChunkserverSecret},
		setting{"CSSERV_LISTEN_HOST", self.Address.String()},
		setting{"CSSERV_LISTEN_PORT", strconv.Itoa(config.ChunkserverPort)},
		setting{"HDD_CONF_FILENAME", "/etc/mfs/mfshdd.cfg"},
		// It bounds how long a chunk that nobody writes to stays in memory only;
		// see the package's documentation for what makes a write durable.
		setting{"HDD_FSYNC_BEFORE_CLOSE", "1"},
		// A disk that fails must not keep the others from being served.
		setting{"ALLOW_STARTING_WITH_INVALID_DISKS", "1"},
	)

	mounts := []containers.Mount{{Source: filepath.Join(config.StateDir, "chunkserver"), Destination: dataPath}}

	var disks strings.Builder

	for _, store := range stores {
		inside := filepath.Join(config.StateDir, "chunks", strconv.Itoa(store.Index))
		reserve := pathReserve

		if store.Device != "" {
			reserve = deviceReserve
		}

		fmt.Fprintf(&disks, "%s -%s\n", inside, reserve)

		mounts = append(mounts, containers.Mount{Source: store.Path, Destination: inside})
	}

	return containers.ContainerSpecSpec{
		Args: []string{"/usr/sbin/mfschunkserver", "-f", "-c", "/etc/mfs/mfschunkserver.cfg", "start"},
		Files: map[string]containers.File{
			"mfs/mfschunkserver.cfg": {Content: lines(settings), Owner: containers.MFSUser},
			"mfs/mfshdd.cfg":         {Content: disks.String(), Owner: containers.MFSUser},
		},
		Mounts:          mounts,
		Capabilities:    []string{"CAP_SYS_NICE"},
		Restart:         true,
		RestartOnChange: true,
		// It flushes and writes its chunk database: give it time.
		StopTimeout: 20,
		OOMScoreAdj: -500,
	}, nil
}

func metaloggerSpec(cfg *config.Config) (containers.ContainerSpecSpec, error) {
	floating, err := FloatingIPv4(cfg.Cluster)
	if err != nil {
		return containers.ContainerSpecSpec{}, err
	}

	settings := append(common(cfg.Self(), floating),
		setting{"MASTER_PORT", strconv.Itoa(config.MasterMetaloggerPort)},
		setting{"MASTER_TIMEOUT", "10"},
		// The whole metadata every six hours, and changelogs (one an hour) for
		// twelve times as long: a download that fails a few times in a row
		// breaks no chain.
		setting{"META_DOWNLOAD_FREQ", "6"},
		setting{"BACK_LOGS", "72"},
		setting{"BACK_META_KEEP_PREVIOUS", "3"},
	)

	return containers.ContainerSpecSpec{
		Args:  []string{"/usr/sbin/mfsmetalogger", "-f", "-c", "/etc/mfs/mfsmetalogger.cfg", "start"},
		Files: map[string]containers.File{"mfs/mfsmetalogger.cfg": {Content: lines(settings), Owner: containers.MFSUser}},
		Mounts: []containers.Mount{{
			Source: filepath.Join(config.StateDir, "metalogger"), Destination: dataPath,
		}},
		Capabilities:    []string{"CAP_SYS_NICE"},
		Restart:         true,
		RestartOnChange: true,
		StopTimeout:     10,
		OOMScoreAdj:     -250,
	}, nil
}

// clientPatience is for how long a mount waits for a master before a program
// gets an I/O error. A day without storage is an incident that people repair;
// programs that got EIO have to be repaired one by one after it.
const clientPatience = 24 * time.Hour

// ioRetries returns mfsioretries for a patience. The pauses before a request is
// repeated are 1 ms + 0.3 s * (n-1) for n in 1..29, 121.8 s in all, then 10 s each
// (mastercomm.c; the workers of writedata.c and readdata.c count alike).
func ioRetries(patience time.Duration) int {
	total, n := time.Duration(0), 0

	for total < patience {
		n++

		if n < 30 {
			total += time.Millisecond + time.Duration(n-1)*300*time.Millisecond
		} else {
			total += 10*time.Second + time.Millisecond
		}
	}

	return n
}

// mountConfig is the file of a mount's options, below /etc.
const mountConfig = "mfs/mfsmount.cfg"

func mountSpec(cfg *config.Config, path, password string) (containers.ContainerSpecSpec, error) {
	floating, err := FloatingIPv4(cfg.Cluster)
	if err != nil {
		return containers.ContainerSpecSpec{}, err
	}

	// mfsmount reads /etc/mfs/mfsmount.cfg by itself; one option to a line.
	options := []string{
		"mfsmaster=" + floating.String(),
		"mfsport=" + strconv.Itoa(config.MasterClientPort),
		// A session is taken up again only from the same address.
		"mfsbind=" + cfg.Self().Address.String(),
		"mfspassword=" + password,
		"mfsioretries=" + strconv.Itoa(ioRetries(clientPatience)),
		// With that patience, what can't come back must not be waited for: these
		// two apply only while every known chunkserver is connected.
		"mfserroronlostchunk",
		"mfserroronnospace",
		// Other clients' changes show as the master tells of them.
		"mfscachemode=AUTO",
		// Always fsync on close: a program that doesn't call fsync has its data
		// on two chunkservers when close returns.
		"mfsfsyncmintime=0.0",
		"mfsrlimitnofile=65536",
		"mfsallowoomkiller",
		// The mount is there at once, and whoever uses it waits for the master.
		"mfsdelayedinit",
	}

	return containers.ContainerSpecSpec{
		Args: []string{"/usr/bin/mfsmount", "-f", path},
		Files: map[string]containers.File{
			mountConfig: {Content: strings.Join(options, "\n") + "\n"},
		},
		Mounts:       []containers.Mount{{Source: path, Destination: path, Shared: true}},
		Fuse:         true,
		Capabilities: []string{"CAP_SYS_NICE"},
		Restart:      true,
		StopTimeout:  5,
		OOMScoreAdj:  -500,
	}, nil
}

// volumeMountSpec is that of a mount that shows one volume. Of an option that is
// there twice mfsmount takes the last.
func volumeMountSpec(cfg *config.Config, path string, mount VolumeMountSpecSpec) (containers.ContainerSpecSpec, error) {
	spec, err := mountSpec(cfg, path, cfg.Cluster.Password)
	if err != nil {
		return spec, err
	}

	file := spec.Files[mountConfig]
	file.Content += strings.Join(append([]string{"mfssubfolder=" + volume.PathOf(mount.Volume)}, mount.Options...), "\n") + "\n"
	spec.Files[mountConfig] = file

	return spec, nil
}
