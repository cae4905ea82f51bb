// Package layout is what the image's builder, its first program and whoever
// writes it to a card must agree on.
package layout

// Sector is the unit of the partition table in bytes.
const Sector = 512

// Labels of the partitions, by which they are found.
const (
	Boot  = "antler-boot"
	State = "antler-state"
)

// Slots are the places for a system. An image is made with its system in the
// first; updates take turns.
const (
	SlotA = "a"
	SlotB = "b"
)

// Root is the label of the partition with a slot's root.
func Root(slot string) string { return "antler-root-" + slot }

// Labels are all of them, in the order of the disk.
func Labels() []string { return []string{Boot, Root(SlotA), Root(SlotB), State} }
