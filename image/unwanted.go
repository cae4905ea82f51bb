package main

import (
	"errors"
	"fmt"
	"path/filepath"
)

// unwanted programs are not in the image, whichever package may bring them: what has
// another way in than the API and the console, and interpreters that nothing of ours needs.
var unwanted = []string{"python*", "perl*", "ssh", "sshd", "ssh-*", "sftp", "dropbear*", "telnetd", "inetd*"}

// refuseUnwanted names all that are in the root.
func refuseUnwanted(root string) error {
	var errs []error
	for _, dir := range []string{"bin", "sbin", "lib/openssh"} {
		for _, pattern := range unwanted {
			found, err := filepath.Glob(filepath.Join(root, "usr", dir, pattern))
			if err != nil {
				return err
			}
			for _, path := range found {
				errs = append(errs, fmt.Errorf("%s must not be in the image: prune it (packages.go), or leave its package out", path[len(root):]))
			}
		}
	}
	return errors.Join(errs...)
}
