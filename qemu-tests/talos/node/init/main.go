// Command init goes in front of Talos's own init: it loads, in the order of their
// names, the modules that Talos's kernel has built in, and becomes Talos's init.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const talosInit = "/talos-init"

func main() {
	files, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
	}
	for _, file := range files {
		if err := load(file); err != nil {
			fmt.Fprintln(os.Stderr, "init:", err)
		}
	}
	if err := unix.Exec(talosInit, []string{"/init"}, os.Environ()); err != nil {
		fmt.Fprintf(os.Stderr, "init: become %s: %v\n", talosInit, err)
		os.Exit(1)
	}
}

// load a module. One whose device isn't there is no error.
func load(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	err = unix.FinitModule(int(file.Fd()), "", 0)
	if err == nil || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("load %s: %w", path, err)
}
