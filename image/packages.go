package main

// suite is the Debian release the image is made of.
const suite = "trixie"

// components of the archive: the firmware of the Raspberry Pi is not free.
const components = "main non-free-firmware"

// packages are what the image is for; what they depend on comes with them.
// There is no moosefs-cli (it is Python), no ssh, no getty and no dbus.
var packages = []string{
	"base-files", "base-passwd", "netbase", "libc-bin", "coreutils", "dash", "busybox-static",
	"linux-image-arm64", "raspi-firmware", "u-boot-rpi", "kmod", "udev", "systemd", "systemd-sysv", "systemd-timesyncd",
	"util-linux", "mount", "e2fsprogs", "iproute2",
	"containerd", "runc",
	"drbd-utils",
	"moosefs-master", "moosefs-chunkserver", "moosefs-metalogger", "moosefs-client", "fuse3",
}

// pruned are paths and patterns (filepath.Match) below the root that are
// removed from the base tree. Copyright files stay: see pruneDoc.
var pruned = []string{
	// The parts of packages that nothing on an appliance reads.
	"usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian", "usr/share/bug",
	"usr/share/bash-completion", "usr/share/zsh", "usr/share/fish", "usr/share/perl5", "usr/share/i18n",
	"usr/share/cluster", "usr/share/doc-base", "usr/share/debconf",
	"usr/share/polkit-1", "usr/share/dbus-1", "usr/share/pixmaps", "usr/share/menu", "usr/share/icons",
	"usr/include", "usr/lib/aarch64-linux-gnu/perl*", "usr/lib/aarch64-linux-gnu/gconv", "usr/share/gcc",
	"usr/lib/aarch64-linux-gnu/security", "usr/lib/locale", "usr/games",
	"var/lib/dpkg", "var/lib/apt", "var/cache", "etc/apt", "etc/dpkg", "etc/cron.d", "etc/init.d", "etc/rc?.d",
	"etc/initramfs-tools", "etc/kernel", "etc/pam.d", "etc/default", "etc/ha.d", "etc/multipath", "etc/xen",
	"etc/dbus-1", "etc/xdg", "etc/selinux", "etc/update-motd.d", "etc/profile.d", "etc/ssh",

	// Programs for other jobs than ours, by the room they take.
	"usr/bin/containerd-shim", "usr/bin/containerd-shim-runc-v1", "usr/bin/containerd-stress",
	"usr/lib/firmware/brcm", "usr/lib/raspi-firmware/*_*", "usr/lib/raspi-firmware/*4[cdx]*", "usr/lib/raspi-firmware/overlays",
	// What raspi-firmware's maintainer scripts would call.
	"usr/bin/dpkg*", "usr/sbin/dpkg*", "usr/share/dpkg", "usr/lib/dpkg", "usr/bin/update-alternatives", "usr/sbin/start-stop-daemon",
	"usr/bin/tar", "usr/sbin/tarcat", "usr/sbin/rmt*", "etc/alternatives", "etc/logrotate.d",
	"etc/initramfs", "usr/sbin/mkfs.*fat", "usr/sbin/mkfs.msdos", "usr/sbin/fatlabel",
	"usr/lib/drbd/drbdadm-83", "usr/lib/drbd/drbdsetup-83", "usr/lib/drbd/*.sh", "usr/lib/drbd/scripts",
	"usr/lib/drbd/rhcs_fence", "usr/lib/ocf", "usr/sbin/drbdmon",
	"usr/sbin/tc", "usr/sbin/devlink", "usr/sbin/rdma", "usr/sbin/dcb", "usr/sbin/vdpa", "usr/sbin/tipc", "usr/lib/tc",
	"usr/sbin/update-passwd", "usr/bin/systemd-nspawn",

	// Nothing is started behind our back: no generator, no package's own unit
	// file for a server, no udev rule but those kept below (rootfs.go).
	"usr/lib/tmpfiles.d", "usr/lib/modules-load.d", "etc/modules-load.d",
	"usr/lib/systemd/system-generators", "usr/lib/systemd/user-generators", "usr/lib/systemd/user",
	"usr/lib/systemd/system/moosefs*", "usr/lib/systemd/system/drbd*", "usr/lib/systemd/system/containerd.service",
	"usr/lib/systemd/system/*.timer", "usr/lib/systemd/system/ocfs2*", "usr/lib/systemd/system/mnt-mfs*",
	"etc/systemd/system", "etc/systemd/user", "etc/fstab",
	// 12 MB of vendor names; the compiled form udev reads is made by a
	// maintainer script, so the source is of no use here.
	"usr/lib/udev/hwdb.d",

	// Device trees, but for the Raspberry Pi's, and what an initrd of
	// Debian's own making would hold.
	"usr/lib/linux-image-*/[^b]*", "usr/lib/linux-image-*/bitmain", "usr/lib/klibc", "usr/share/initramfs-tools",

	// Kernel modules no small server needs.
	"usr/lib/modules/*/kernel/sound",
	"usr/lib/modules/*/kernel/drivers/gpu", "usr/lib/modules/*/kernel/drivers/media",
	"usr/lib/modules/*/kernel/drivers/net/wireless", "usr/lib/modules/*/kernel/drivers/bluetooth",
	"usr/lib/modules/*/kernel/drivers/staging", "usr/lib/modules/*/kernel/drivers/iio",
	"usr/lib/modules/*/kernel/drivers/infiniband", "usr/lib/modules/*/kernel/drivers/isdn",
	"usr/lib/modules/*/kernel/drivers/video", "usr/lib/modules/*/kernel/drivers/accel",
	"usr/lib/modules/*/kernel/drivers/input/[jt]*", "usr/lib/modules/*/kernel/drivers/soundwire",
	"usr/lib/modules/*/kernel/drivers/net/can", "usr/lib/modules/*/kernel/drivers/nfc",
	"usr/lib/modules/*/kernel/net/bluetooth", "usr/lib/modules/*/kernel/net/mac80211",
	"usr/lib/modules/*/kernel/net/wireless", "usr/lib/modules/*/kernel/net/nfc", "usr/lib/modules/*/kernel/net/can",
	"usr/lib/modules/*/kernel/net/6lowpan", "usr/lib/modules/*/kernel/net/ieee802154", "usr/lib/modules/*/kernel/net/mac802154",
	"boot/System.map*",
}

// keptUdevRules are the rules a server with disks and network cards needs.
// 65-drbd.rules is not among them: it opens the device behind antlerd's back.
var keptUdevRules = []string{
	"50-udev-default.rules", "60-block.rules", "60-persistent-storage.rules", "60-serial.rules",
	"75-net-description.rules", "80-drivers.rules", "80-net-setup-link.rules", "99-systemd.rules",
}

// keptWants are the units of Debian's *.target.wants that stay enabled. Each
// costs a quarter of a second on an emulated board; what is missing here is
// done by image/init (mounts, directories, sysctl) or by nobody.
var keptWants = []string{
	"systemd-journald-dev-log.socket", "systemd-journald.socket", "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
	"systemd-journald.service", "systemd-udev-trigger.service", "systemd-udevd.service",
}
