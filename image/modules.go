package main

// bootModules are what the initrd loads, in this order, each after what it
// depends on. crc32c_generic comes before ext4, which asks the crypto layer
// for "crc32c" by name: depmod knows nothing of that, and without it ext4
// fails with "Cannot load crc32c driver". The same goes for dm_verity's sha256, of which
// a machine has the quicker one or not, and for vfat's character
// sets.
var bootModules = []string{"virtio_pci", "virtio_mmio", "virtio_blk", "crc32c_generic", "ext4", "squashfs",
	"sha256_arm64", "sha2_ce", "dm_verity", "vfat", "nls_cp437", "nls_ascii"}

// piModules drive the card and USB disks of a Raspberry Pi; loaded there before
// the others.
var piModules = []string{"reset_raspberrypi", "gpio_regulator", "sdhci_iproc", "bcm2835", "xhci_pci", "usb_storage", "uas", "sd_mod"}
