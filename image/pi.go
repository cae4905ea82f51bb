package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// firmwareDir is where Debian's raspi-firmware has the boot firmware, which is
// of no use in the root.
const firmwareDir = "usr/lib/raspi-firmware"

// piLoader is U-Boot for all boards with 64 bits, from Debian's u-boot-rpi.
const piLoader = "usr/lib/u-boot/rpi_arm64/u-boot.bin"

// piFirmware starts a Raspberry Pi up to 4: bootcode.bin and start.elf a 3, and
// start4.elf a 4. A 5 has its own in a flash memory.
var piFirmware = []string{"bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat"}

// piConfig is what the firmware reads:
// https://www.raspberrypi.com/documentation/computers/config_txt.html
// It starts U-Boot, which chooses the system (package slots). With upstream_kernel it takes the device tree by the name that the mainline
// kernel, which is Debian's, has for the board.
const piConfig = `# The firmware's settings. The node's are in antler.yaml.
arm_64bit=1
kernel=u-boot.bin
upstream_kernel=1
enable_uart=1
disable_splash=1
`

// makePiBoot writes what a Raspberry Pi reads from the boot partition into the
// directory boot.
func makePiBoot(base, boot string) error {
	root := filepath.Join(base, "root")
	trees, err := filepath.Glob(filepath.Join(root, "usr/lib/linux-image-*/broadcom/*.dtb"))
	if err != nil {
		return err
	}
	if len(trees) == 0 {
		return fmt.Errorf("the kernel package has no device trees for a Raspberry Pi")
	}
	files := append(trees, filepath.Join(root, piLoader))
	for _, name := range piFirmware {
		files = append(files, filepath.Join(root, firmwareDir, name))
	}
	for _, from := range files {
		data, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("firmware of the Raspberry Pi: %w", err)
		}
		if err := put(filepath.Join(boot, filepath.Base(from)), data, 0o644); err != nil {
			return err
		}
	}
	return put(filepath.Join(boot, "config.txt"), []byte(piConfig), 0o644)
}
