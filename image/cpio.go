package main

import (
	"fmt"
	"io"
)

// File types of the cpio mode field.
const (
	modeDir  = 0o040000
	modeChar = 0o020000
	modeFile = 0o100000
)

// cpio writes the "newc" form that the kernel unpacks as an initramfs:
// https://docs.kernel.org/driver-api/early-userspace/buffer-format.html
// The first error sticks and is returned by close.
type cpio struct {
	w     io.Writer
	inode int
	n     int
	err   error
}

// entry adds a file; rdev is major<<8|minor of a device node.
func (c *cpio) entry(name string, mode, rdev int, data []byte) {
	c.inode++
	c.printf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		c.inode, mode, 0, 0, 1, 0, len(data), 0, 0, rdev>>8, rdev&0xff, len(name)+1, 0)
	c.printf("%s\x00", name)
	c.pad()
	c.write(data)
	c.pad()
}

func (c *cpio) close() error {
	c.entry("TRAILER!!!", 0, 0, nil)
	return c.err
}

func (c *cpio) printf(format string, args ...any) { c.write(fmt.Appendf(nil, format, args...)) }

func (c *cpio) pad() { c.write(make([]byte, -c.n&3)) }

func (c *cpio) write(p []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(p)
	c.n += n
	c.err = err
}
