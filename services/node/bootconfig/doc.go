// Package bootconfig takes over the configuration that a person put on the boot
// partition: antler.yaml, on a FAT that any laptop can read and write.
//
// The file is validated whole. If it is right it becomes the node's
// configuration, and its secrets are moved off the FAT: the file stays, for
// people to read and to edit, with the word Kept in the place of each secret. An
// edited file with that word in it is completed with the secrets that the node
// has. If the file is wrong nothing changes but antler-status.txt beside it,
// which says what is wrong: a card put back in the laptop tells.
//
// Power may go at any moment. The node's own copy is on the state partition
// before the first secret is removed from the FAT, and what a power cut leaves
// half done the next start finishes.
//
// Nothing is written where nothing changed: a card has only so many writes.
package bootconfig
