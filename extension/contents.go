package main

import (
	"antler/image/debian"
)

// suite is the Debian release that the programs are taken from: that of image/.
const suite = "trixie"

// packages are those with the programs below; what they depend on comes with
// them, and stays behind but for the libraries that the programs need.
var packages = []string{
	"moosefs-master", "moosefs-chunkserver", "moosefs-metalogger", "moosefs-client",
	"drbd-utils", "e2fsprogs", "util-linux", "dash", "coreutils", "libc6",
}

// programs are paths and patterns (filepath.Match) below Debian's root. Links
// among them come with what they lead to. Libraries are not listed: they are
// found (image/libraries).
var programs = []string{
	// MooseFS, the tools for people included.
	"usr/sbin/mfs*", "usr/bin/mfs*",
	// What antlerd itself runs. drbdadm and drbdsetup are those of DRBD 9, and
	// run those of 8.4 where the kernel has 8.4.
	"usr/sbin/drbdadm", "usr/sbin/drbdsetup", "usr/sbin/drbdmeta",
	"usr/lib/drbd/drbdadm-84", "usr/lib/drbd/drbdsetup-84",
	"usr/sbin/mkfs.ext4", "usr/sbin/e2fsck", "usr/sbin/debugfs", "usr/sbin/wipefs", "usr/bin/env",
	// In which a spare container waits (services/containers/trigger.go).
	"usr/bin/sh",
}

// dropped are among them and of no use: they say in bash, which isn't here, what
// replaces them.
var dropped = []string{"usr/bin/mfscopygoal", "usr/bin/mfsgetgoal", "usr/bin/mfssetgoal", "usr/sbin/mfsmetarestore"}

// files that go with them. The licences are those of all packages: which of
// them a library is from is not recorded anywhere.
var files = []string{
	"etc/mke2fs.conf",
	"usr/share/doc/*/copyright",
}

// links of the service's root, name to target.
func links(arch string) map[string]string {
	out := map[string]string{
		"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib",
		"usr/sbin/drbdadm-84":   "../lib/drbd/drbdadm-84",
		"usr/sbin/drbdsetup-84": "../lib/drbd/drbdsetup-84",
	}
	if arch == "amd64" {
		out["lib64"] = "usr/lib64"
	}
	return out
}

// dirs are mount points of the service's root: it is read-only to us.
var dirs = []string{"dev", "etc/antler", "proc", "run", "sys", "system", "tmp", "var/lib/antler", "var/lock", "var/run/drbd"}

func tree(arch string) debian.Tree {
	return debian.Tree{Suite: suite, Arch: arch, Packages: packages, Sources: debian.Sources(suite, "main")}
}
