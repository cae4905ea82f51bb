package kubernetes

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"antler/services/volume"
)

// Parameters of a StorageClass, or of a VolumeAttributesClass, as they may be
// written there.
const (
	paramCopies       = "copies"
	paramStorageClass = "moosefsStorageClass"
	paramTrashTime    = "trashTime"
	paramArchiveTime  = "archiveTime"
	paramInodeLimit   = "inodeLimit"
	paramNameTemplate = "nameTemplate"
	paramMountMode    = "mountMode"
)

// Set by whoever provisions for Kubernetes (the names are external-provisioner's).
const (
	reservedPrefix = "csi.storage.k8s.io/"
	paramClaim     = reservedPrefix + "pvc/name"
	paramNamespace = reservedPrefix + "pvc/namespace"
	paramPV        = reservedPrefix + "pv/name"
)

// Labels that a volume keeps.
const (
	labelName    = "csi/name"
	labelArchive = "csi/archive-time"
)

// Problem is one thing that is wrong with parameters.
type Problem struct{ Path, Reason string }

// Problems is everything that is wrong with parameters; an error if there is
// anything.
type Problems []Problem

// Error lists all problems.
func (p Problems) Error() string {
	texts := make([]string, len(p))
	for i, problem := range p {
		texts[i] = problem.Path + ": " + problem.Reason
	}

	return strings.Join(texts, "; ")
}

// Parameters are what a StorageClass asks for.
type Parameters struct {
	// Copies or StorageClass; neither: the cluster's default.
	Copies       int
	StorageClass string
	// TrashTime of deleted files; nil: the cluster's default.
	TrashTime *time.Duration
	// ArchiveTime for which a deleted volume can come back; 0:
	// volume.DefaultKeep.
	ArchiveTime time.Duration
	// InodeLimit is how many files and directories it may hold; 0: any number, or
	// as many as its source.
	InodeLimit uint64
	// Template of the volume's name; empty: the name of the persistent volume.
	Template Template
	// MountMode on the nodes; empty: MountShared.
	MountMode MountMode
}

// ParseParameters reads parameters and reports all that is wrong with them at
// once (Problems). at is where they stand, for the message.
func ParseParameters(at string, parameters map[string]string) (Parameters, error) {
	var (
		out      Parameters
		problems Problems
	)

	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		if strings.HasPrefix(key, reservedPrefix) {
			continue
		}

		if err := out.set(key, parameters[key]); err != nil {
			problems = append(problems, Problem{at + "." + key, err.Error()})
		}
	}

	if out.Copies != 0 && out.StorageClass != "" {
		problems = append(problems, Problem{at + "." + paramCopies, "can't be together with " + paramStorageClass + ": remove one"})
	}

	if len(problems) > 0 {
		return Parameters{}, problems
	}

	return out, nil
}

func (p *Parameters) set(key, value string) (err error) {
	switch key {
	case paramCopies:
		p.Copies, err = strconv.Atoi(value)
		if err != nil || p.Copies < 1 || p.Copies > volume.MaxCopies {
			return fmt.Errorf("%.50q is not a number of copies in 1..%d", value, volume.MaxCopies)
		}
	case paramStorageClass:
		p.StorageClass = value

		return volume.CheckClass(value)
	case paramTrashTime:
		d, err := parseTime(value, 0, volume.MaxTrashTime)
		p.TrashTime = &d

		return err
	case paramArchiveTime:
		p.ArchiveTime, err = parseTime(value, time.Second, volume.MaxKeep)

		return err
	case paramInodeLimit:
		p.InodeLimit, err = strconv.ParseUint(value, 10, 64)
		if err != nil || p.InodeLimit < 1 || p.InodeLimit > volume.MaxInodes {
			return fmt.Errorf("%.50q is not a number of inodes in 1..%d", value, uint64(volume.MaxInodes))
		}
	case paramNameTemplate:
		p.Template, err = ParseTemplate(value)

		return err
	case paramMountMode:
		p.MountMode, err = parseMountMode(value)

		return err
	default:
		return fmt.Errorf("is unknown: the parameters are %s, %s, %s, %s, %s, %s and %s",
			paramCopies, paramStorageClass, paramTrashTime, paramArchiveTime, paramInodeLimit, paramNameTemplate, paramMountMode)
	}

	return nil
}

// parseTime reads a duration, with "d" for days.
func parseTime(value string, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(value)

	if days, found := strings.CutSuffix(value, "d"); found {
		var n int

		n, err = strconv.Atoi(days)
		if err == nil && (n < 0 || n > int(most/(24*time.Hour))) {
			err = strconv.ErrRange
		}

		d = time.Duration(n) * 24 * time.Hour
	}

	if err != nil || d < least || d > most {
		return 0, fmt.Errorf("%.50q is not a time from %s to %s: write for example 36h or 7d", value, least, most)
	}

	return d, nil
}

// Mutable checks that only what may change later is set.
func (p Parameters) mutable(at string) error {
	var problems Problems

	if len(p.Template) > 0 {
		problems = append(problems, Problem{at + "." + paramNameTemplate, "can't be changed: a volume keeps its name"})
	}

	if p.MountMode != "" {
		problems = append(problems, Problem{at + "." + paramMountMode, "can't be changed: set it in the StorageClass"})
	}

	if len(problems) > 0 {
		return problems
	}

	return nil
}

// labels that the volume of CSI's name keeps.
func (p Parameters) labels(name string) map[string]string {
	labels := map[string]string{labelName: name}
	if p.ArchiveTime != 0 {
		labels[labelArchive] = p.ArchiveTime.String()
	}

	return labels
}

// archiveTime is what labels says, 0 if nothing.
func archiveTime(labels map[string]string) time.Duration {
	d, err := time.ParseDuration(labels[labelArchive])
	if err != nil {
		return 0
	}

	return d
}
