package containers

import (
	"fmt"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/resource/meta"
	"github.com/cosi-project/runtime/pkg/resource/typed"

	"antler/services/resources"
)

// ContainerSpecType is the type of ContainerSpec.
const ContainerSpecType = resource.Type("ContainerSpecs.antler")

// ContainerSpec is the resource around ContainerSpecSpec.
type ContainerSpec = typed.Resource[ContainerSpecSpec, ContainerSpecExtension]

// NewContainerSpec returns the ContainerSpec called id with an empty spec.
func NewContainerSpec(id resource.ID) *ContainerSpec {
	return typed.NewResource[ContainerSpecSpec, ContainerSpecExtension](
		resources.Metadata(ContainerSpecType, id), ContainerSpecSpec{})
}

// ContainerSpecExtension defines the type for COSI.
type ContainerSpecExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (ContainerSpecExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(ContainerSpecType, "containerspec")
}

// ContainerSpecSpec is one process that should run as a containerd task. Each
// owner (master, chunkserver, metalogger, mounts) writes its own; the id is the
// container's name.
type ContainerSpecSpec struct {
	// Args is the command line; no secrets in it.
	Args []string `yaml:"args"`
	// Files are written before start, below the container's /etc and with mode
	// 0600 owned by UID:GID 0 unless World is set: name -> content.
	Files map[string]File `yaml:"files,omitempty"`
	// Mounts are binds from the host.
	Mounts []Mount `yaml:"mounts,omitempty"`
	// Fuse gives /dev/fuse and CAP_SYS_ADMIN.
	Fuse bool `yaml:"fuse,omitempty"`
	// Capabilities beyond none (for example CAP_SYS_NICE, CAP_IPC_LOCK).
	Capabilities []string `yaml:"capabilities,omitempty"`
	// Restart says whether a task that ended is started again by the
	// containers service (chunkserver: yes; master: no, its controller decides).
	Restart bool `yaml:"restart"`
	// Generation forces a restart when it changes though nothing else did.
	Generation uint64 `yaml:"generation,omitempty"`
	// RestartOnChange says whether a changed spec restarts a running task (true) or
	// waits until it ends by itself (mounts).
	RestartOnChange bool `yaml:"restartOnChange"`
	// StopSignal and StopTimeout (seconds) for an orderly end; then SIGKILL.
	StopSignal  int `yaml:"stopSignal,omitempty"`
	StopTimeout int `yaml:"stopTimeout,omitempty"`
	// Stopped says that nothing should run: with Spare, that it should only be
	// ready to.
	Stopped bool `yaml:"stopped,omitempty"`
	// Spare keeps one more container of the same kind waiting to start,
	// so that a start takes no more than letting it go. A spare runs nothing.
	Spare bool `yaml:"spare,omitempty"`
	// Nice is in -20..19, see sched(7).
	Nice int `yaml:"nice,omitempty"`
	// TimerSlack is how late its sleeps may end; 0 means DefaultTimerSlack.
	TimerSlack time.Duration `yaml:"timerSlack,omitempty"`
	// OOMScoreAdj in -1000..1000.
	OOMScoreAdj int `yaml:"oomScoreAdj,omitempty"`
	// OpenFiles is RLIMIT_NOFILE; 0 means DefaultOpenFiles.
	OpenFiles uint64 `yaml:"openFiles,omitempty"`
}

// DefaultOpenFiles lets a chunkserver keep some ten thousand chunks and
// connections open, and mfsmount the 100,000 it asks for by itself.
const DefaultOpenFiles = 131072

// DefaultTimerSlack lets the kernel wake a process for several of its short
// sleeps at once. MooseFS's daemons poll every millisecond or ten from several
// threads, some 1,500 times a second on a node where nothing happens. What comes over
// a connection wakes them at once, whatever the slack.
const DefaultTimerSlack = 50 * time.Millisecond

// File is a file below the container's /etc.
type File struct {
	// Content may be secret: it is never shown.
	Content string `yaml:"-"`
	// World makes it readable by everybody (passwd, group, hosts).
	World bool `yaml:"world,omitempty"`
	// Owner is the uid and gid of the file (0 root).
	Owner int `yaml:"owner,omitempty"`
}

// Mount is a bind mount from the host.
type Mount struct {
	Source      string `yaml:"source"`
	Destination string `yaml:"destination"`
	ReadOnly    bool   `yaml:"readOnly,omitempty"`
	// Shared propagates mounts made inside the container to the host (FUSE).
	Shared bool `yaml:"shared,omitempty"`
	// Slave propagates mounts made on the host, below the source, to the
	// container. The source is made where it is missing.
	Slave bool `yaml:"slave,omitempty" json:",omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s ContainerSpecSpec) DeepCopy() ContainerSpecSpec {
	s.Args = append([]string(nil), s.Args...)
	s.Mounts = append([]Mount(nil), s.Mounts...)
	s.Capabilities = append([]string(nil), s.Capabilities...)
	files := make(map[string]File, len(s.Files))

	for name, file := range s.Files {
		files[name] = file
	}

	s.Files = files

	return s
}

// ContainerStatusType is the type of ContainerStatus.
const ContainerStatusType = resource.Type("ContainerStatuses.antler")

// ContainerStatus is the resource around ContainerStatusSpec.
type ContainerStatus = typed.Resource[ContainerStatusSpec, ContainerStatusExtension]

// NewContainerStatus returns the ContainerStatus called id with an empty spec.
func NewContainerStatus(id resource.ID) *ContainerStatus {
	return typed.NewResource[ContainerStatusSpec, ContainerStatusExtension](
		resources.Metadata(ContainerStatusType, id), ContainerStatusSpec{})
}

// ContainerStatusExtension defines the type for COSI.
type ContainerStatusExtension struct{}

// ResourceDefinition implements meta.ResourceDefinitionProvider.
func (ContainerStatusExtension) ResourceDefinition() meta.ResourceDefinitionSpec {
	return resources.Define(ContainerStatusType, "container")
}

// ContainerStatusSpec is what became of a ContainerSpec.
type ContainerStatusSpec struct {
	// Running with this process id on the host.
	Running bool `yaml:"running"`
	PID     int  `yaml:"pid,omitempty"`
	// Standby: it does not run and is not meant to. StandbyGeneration is that of the
	// spec that asked for it: what was asked for before has ended, and is not about
	// to begin.
	Standby           bool   `yaml:"standby,omitempty"`
	StandbyGeneration uint64 `yaml:"standbyGeneration,omitempty"`
	// Unknown: whether it runs since before antlerd was started was not found out yet.
	Unknown bool `yaml:"unknown,omitempty"`
	// Busy: a call to containerd for it is under way, which may take minutes where
	// the processor has more to do.
	Busy bool `yaml:"busy,omitempty"`
	// Adopted says that the task was found running when antlerd started.
	Adopted bool `yaml:"adopted,omitempty"`
	// Generation and Digest of the spec that runs.
	Generation uint64 `yaml:"generation,omitempty"`
	Digest     string `yaml:"digest,omitempty"`
	// Restarts since antlerd started, ExitCode of the last end.
	Restarts int `yaml:"restarts"`
	ExitCode int `yaml:"exitCode,omitempty"`
	// LogPath on the host.
	LogPath string `yaml:"logPath,omitempty"`
	Error   string `yaml:"error,omitempty"`
}

// DeepCopy implements typed.DeepCopyable.
func (s ContainerStatusSpec) DeepCopy() ContainerStatusSpec { return s }

// The states of a container that is as it should be; any other text says why it
// is not.
const (
	StateRunning = "running"
	StateStandby = "standing by"
)

// State says in words how the container is.
func (s ContainerStatusSpec) State() string {
	switch {
	case s.Running:
		return StateRunning
	case s.Error != "":
		return s.Error
	case s.Standby:
		return StateStandby
	default:
		return fmt.Sprintf("ended with exit code %d", s.ExitCode)
	}
}
