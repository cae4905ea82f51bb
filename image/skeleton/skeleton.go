// Package skeleton is the empty root in which MooseFS processes run: mount
// points for containerd to mount /usr and each process's own data on. The disk
// image and the Talos extension have the same.
package skeleton

// Path is where the skeleton is below the root that carries it.
const Path = "usr/lib/antler/rootfs"

// Dirs are the skeleton's directories.
func Dirs() []string {
	return []string{"dev", "etc", "mnt", "proc", "run", "sys", "tmp", "usr", "var/lib/antler", "var/lib/mfs"}
}

// Links are the skeleton's symbolic links, name to target. The loader of amd64
// is looked for in /lib64, and is in a directory of its own there.
func Links(arch string) map[string]string {
	lib64 := "usr/lib"
	if arch == "amd64" {
		lib64 = "usr/lib64"
	}
	return map[string]string{"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": lib64}
}
