package kubernetes

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// bindOptions are the mount options of a StorageClass or PersistentVolume that
// a bind can have, as attributes of mount_setattr(2). They are the pod's, in
// either mode.
func bindOptions() map[string]uint64 {
	return map[string]uint64{
		"ro": unix.MOUNT_ATTR_RDONLY, "rw": 0, "nosuid": unix.MOUNT_ATTR_NOSUID, "nodev": unix.MOUNT_ATTR_NODEV,
		"noexec": unix.MOUNT_ATTR_NOEXEC, "noatime": unix.MOUNT_ATTR_NOATIME, "relatime": unix.MOUNT_ATTR_RELATIME,
		"nodiratime": unix.MOUNT_ATTR_NODIRATIME,
	}
}

// mfsOption checks the value of an option of mfsmount.
type mfsOption func(value string) error

// mfsOptions are the options of mfsmount(8) that a volume with a mount of its own
// may have, with the ranges in which mfsmount takes them as they are. Left out is
// what says where the master is and who asks, what an acknowledged write is worth
// (mfsfsyncmintime) and how long a mount waits for a master (mfsioretries,
// mfstimeout): those are the cluster's.
func mfsOptions() map[string]mfsOption {
	seconds := floatIn(0, 86400)

	return map[string]mfsOption{
		"mfscachemode":        oneOf("AUTO", "NO", "YES", "DIRECT"),
		"mfswritecachesize":   integerIn(16, 2048),
		"mfsreadaheadsize":    integerIn(16, 2048),
		"mfsreadaheadleng":    integerIn(128<<10, 2<<20),
		"mfsreadaheadtrigger": integerIn(128<<10, 1<<30),
		"mfsattrcacheto":      seconds,
		"mfsxattrcacheto":     seconds,
		"mfsentrycacheto":     seconds,
		"mfsdirentrycacheto":  seconds,
		"mfsnegentrycacheto":  seconds,
		"mfssymlinkcacheto":   seconds,
		"mfsgroupscacheto":    seconds,
		"mfsnoxattrs":         noValue,
		"mfsnoposixlocks":     noValue,
		"mfsnobsdlocks":       noValue,
	}
}

func oneOf(values ...string) mfsOption {
	return func(value string) error {
		if !slices.Contains(values, value) {
			return fmt.Errorf("%.50q is none of %s", value, strings.Join(values, ", "))
		}

		return nil
	}
}

func integerIn(least, most uint64) mfsOption {
	return func(value string) error {
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil || n < least || n > most {
			return fmt.Errorf("%.50q is not a whole number in %d..%d", value, least, most)
		}

		return nil
	}
}

// floatIn takes digits and a point only: no sign, no exponent, no "inf".
func floatIn(least, most float64) mfsOption {
	return func(value string) error {
		n, err := strconv.ParseFloat(value, 64)
		if err != nil || n < least || n > most || strings.Trim(value, "0123456789.") != "" {
			return fmt.Errorf("%.50q is not a number in %g..%g, such as 0.5", value, least, most)
		}

		return nil
	}
}

func noValue(value string) error {
	if value != "" {
		return fmt.Errorf("has no value, and %.50q was given", value)
	}

	return nil
}

// parseOptions reads mount options: attributes of the bind, and options of
// mfsmount where the mode has one. Everything else is refused, by its name and
// with those that may be.
func parseOptions(field string, options []string, mode MountMode) (attributes uint64, mfs []string, err error) {
	binds, own, seen := bindOptions(), mfsOptions(), map[string]bool{}

	for i, option := range options {
		if attribute, ok := binds[option]; ok {
			attributes |= attribute

			continue
		}

		name, value, _ := strings.Cut(option, "=")
		check, known := own[name]

		switch {
		case known && mode != MountVolume:
			return 0, nil, invalid("%s[%d]: %.50q is of mfsmount, and the volume shares the node's: use %s, or the parameter %s: %s",
				field, i, name, names(binds), paramMountMode, MountVolume)
		case !known && mode == MountVolume:
			return 0, nil, invalid("%s[%d]: %.50q can't be had: use %s, %s", field, i, option, names(binds), names(own))
		case !known:
			return 0, nil, invalid("%s[%d]: %.50q can't be had: use %s", field, i, option, names(binds))
		case seen[name]:
			return 0, nil, invalid("%s[%d]: %s is there twice: remove one", field, i, name)
		}

		if err := check(value); err != nil {
			return 0, nil, invalid("%s[%d]: %s: %v", field, i, name, err)
		}

		// "mfsnoxattrs=" would be another option to mfsmount.
		if value == "" {
			option = name
		}

		seen[name], mfs = true, append(mfs, option)
	}

	return attributes, mfs, nil
}

func names[V any](options map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(options)), ", ")
}
