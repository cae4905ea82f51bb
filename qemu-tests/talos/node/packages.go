package main

import "antler/image/debian"

// suite is where the kernel and the programs come from: Talos asks for a kernel of
// 6.15 or newer, and no release has one.
const suite = "sid"

// packages are what Talos takes from its own builds of the same projects.
var packages = []string{
	"base-files", "libc-bin", "libc6", "linux-image-arm64",
	"containerd", "runc", "udev", "kmod", "xfsprogs", "e2fsprogs", "dosfstools", "lvm2", "util-linux", "iptables", "nftables",
}

func tree(allowExpired bool) debian.Tree {
	return debian.Tree{
		Suite: suite, Arch: "arm64", Packages: packages, Sources: debian.Sources(suite, "main"),
		AllowExpired: allowExpired,
	}
}
