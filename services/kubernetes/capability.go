package kubernetes

import (
	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
)

// access is what an access mode means here.
type access struct {
	// alone: on one node at a time; single: at one path of it.
	alone, single, readOnly bool
}

func accessOf(mode csi.VolumeCapability_AccessMode_Mode) (access, bool) {
	switch mode {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:
		return access{alone: true}, true
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER:
		return access{alone: true, single: true}, true
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:
		return access{alone: true, readOnly: true}, true
	case csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:
		return access{readOnly: true}, true
	case csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:
		return access{}, true
	default:
		return access{}, false
	}
}

// use is what a capability and a volume's context ask for.
type use struct {
	access

	mode MountMode
	// attributes of the bind that the pod sees, as of mount_setattr(2).
	attributes uint64
	// options of the volume's own mfsmount.
	options []string
}

// checkCapability refuses what can't be had, and returns what it means.
func checkCapability(field string, c *csi.VolumeCapability, mode MountMode) (use, error) {
	if c == nil {
		return use{}, invalid("%s: is missing", field)
	}

	if c.GetBlock() != nil || c.GetMount() == nil {
		return use{}, invalid("%s.access_type: volumes are directories: use volumeMode Filesystem", field)
	}

	access, known := accessOf(c.GetAccessMode().GetMode())
	if !known {
		return use{}, invalid("%s.access_mode: %s is unknown", field, c.GetAccessMode().GetMode())
	}

	if fs := c.GetMount().GetFsType(); fs != "" && fs != "moosefs" {
		return use{}, invalid("%s.mount.fs_type: %.50q: leave it out", field, fs)
	}

	attributes, options, err := parseOptions(field+".mount.mount_flags", c.GetMount().GetMountFlags(), mode)
	if err != nil {
		return use{}, err
	}

	if access.readOnly {
		attributes |= unix.MOUNT_ATTR_RDONLY
	}

	return use{access: access, mode: mode, attributes: attributes, options: options}, nil
}

// checkCapabilities checks all of them.
func checkCapabilities(all []*csi.VolumeCapability, mode MountMode) error {
	if len(all) == 0 {
		return invalid("volume_capabilities: are missing")
	}

	for _, c := range all {
		if _, err := checkCapability("volume_capabilities", c, mode); err != nil {
			return err
		}
	}

	return nil
}
