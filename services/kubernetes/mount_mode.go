package kubernetes

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// MountMode says through which mount of MooseFS a node shows a volume. It is a
// parameter of a StorageClass, from where it gets into the volume's context, and
// so into the volumeAttributes of its persistent volume.
type MountMode string

const (
	// MountShared is a bind of the volume's directory from the node-wide mount.
	MountShared MountMode = "shared"
	// MountVolume is an mfsmount for this volume alone, with options of its own,
	// in which df shows the volume's quota.
	MountVolume MountMode = "volume"
)

// parseMountMode reads a mode.
func parseMountMode(value string) (MountMode, error) {
	switch mode := MountMode(value); mode {
	case MountShared, MountVolume:
		return mode, nil
	default:
		return "", fmt.Errorf("%.50q is neither %q nor %q", value, MountShared, MountVolume)
	}
}

// context is what a volume's persistent volume keeps of the parameters.
func (p Parameters) context() map[string]string {
	if p.MountMode == "" {
		return nil
	}

	return map[string]string{paramMountMode: string(p.MountMode)}
}

// modeOf reads a volume's context, MountShared where it says nothing. What is
// unknown is refused, unless Kubernetes put it there: its names have a "/".
func modeOf(context map[string]string) (MountMode, error) {
	mode := MountShared

	for _, key := range slices.Sorted(maps.Keys(context)) {
		if strings.Contains(key, "/") {
			continue
		}

		if key != paramMountMode {
			return "", invalid("volume_context.%.50s: is unknown: a volume's attributes (spec.csi.volumeAttributes) are: %s", key, paramMountMode)
		}

		var err error

		mode, err = parseMountMode(context[key])
		if err != nil {
			return "", invalid("volume_context.%s: %v", key, err)
		}
	}

	return mode, nil
}
