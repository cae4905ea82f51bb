package main

import (
	"fmt"
	"os"

	"antler/image/verity"
)

// addVerity appends the tree of hashes to the file.
func addVerity(path string) (verity.Root, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return verity.Root{}, err
	}
	defer f.Close()
	root, tree, err := verity.Tree(f)
	if err != nil {
		return verity.Root{}, fmt.Errorf("hash %s: %w", path, err)
	}
	if _, err := f.WriteAt(tree, root.Blocks*verity.Block); err != nil {
		return verity.Root{}, err
	}
	return root, f.Close()
}
