// Package layout is what the image's builder, its first program and whoever
// writes it to a card must agree on.
package layout

// Sector is the unit of the partition table in bytes.
const Sector = 512

// Labels of the partitions, by which they are found.
const (
	Boot  = "antler-boot"
	Root  = "antler-root"
	State = "antler-state"
)

// Labels are all of them, in the order of the disk.
func Labels() []string { return []string{Boot, Root, State} }
