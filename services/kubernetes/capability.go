package kubernetes

import (
	"maps"
	"slices"
	"strings"

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

// mountFlags are the mount options of a StorageClass or PersistentVolume that
// a bind can have, as attributes of mount_setattr(2).
func mountFlags() map[string]uint64 {
	return map[string]uint64{
		"ro": unix.MOUNT_ATTR_RDONLY, "rw": 0, "nosuid": unix.MOUNT_ATTR_NOSUID, "nodev": unix.MOUNT_ATTR_NODEV,
		"noexec": unix.MOUNT_ATTR_NOEXEC, "noatime": unix.MOUNT_ATTR_NOATIME, "relatime": unix.MOUNT_ATTR_RELATIME,
		"nodiratime": unix.MOUNT_ATTR_NODIRATIME,
	}
}

// checkCapability refuses what can't be had, and returns what it means and its
// mount attributes.
func checkCapability(field string, c *csi.VolumeCapability) (access, uint64, error) {
	if c == nil {
		return access{}, 0, invalid("%s: is missing", field)
	}

	if c.GetBlock() != nil || c.GetMount() == nil {
		return access{}, 0, invalid("%s.access_type: volumes are directories: use volumeMode Filesystem", field)
	}

	mode, known := accessOf(c.GetAccessMode().GetMode())
	if !known {
		return access{}, 0, invalid("%s.access_mode: %s is unknown", field, c.GetAccessMode().GetMode())
	}

	if fs := c.GetMount().GetFsType(); fs != "" && fs != "moosefs" {
		return access{}, 0, invalid("%s.mount.fs_type: %.50q: leave it out", field, fs)
	}

	var (
		flags   uint64
		options = mountFlags()
	)

	for i, flag := range c.GetMount().GetMountFlags() {
		attribute, ok := options[flag]
		if !ok {
			return access{}, 0, invalid("%s.mount.mount_flags[%d]: %.50q can't be had: use %s",
				field, i, flag, strings.Join(slices.Sorted(maps.Keys(options)), ", "))
		}

		flags |= attribute
	}

	return mode, flags, nil
}

// checkCapabilities checks all of them.
func checkCapabilities(all []*csi.VolumeCapability) error {
	if len(all) == 0 {
		return invalid("volume_capabilities: are missing")
	}

	for _, c := range all {
		if _, _, err := checkCapability("volume_capabilities", c); err != nil {
			return err
		}
	}

	return nil
}
