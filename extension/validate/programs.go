package validate

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"path"
	"strings"
)

// program returns the file that an absolute path of the service leads to, if it
// can be executed.
func (c *checker) program(name string) (Entry, bool) {
	at, found := c.resolve(c.root(), strings.TrimPrefix(name, "/"))
	e := c.files[at]
	return e, found && e.Type == tar.TypeReg && e.Mode&0o111 != 0
}

// programs: each is for the image's architecture, and what the kernel starts it
// with is there.
func (c *checker) programs() {
	for _, name := range c.sorted() {
		e := c.files[name]
		switch {
		case e.Type != tar.TypeReg:
		case bytes.HasPrefix(e.Data, []byte(elf.ELFMAG)):
			c.binary(e)
		case e.Mode&0o111 != 0:
			c.script(e)
		}
	}
}

func (c *checker) binary(e Entry) {
	file, err := elf.NewFile(bytes.NewReader(e.Data))
	if err != nil {
		c.refuse(e.Path, "build it again", "it is a broken ELF file: %v", err)
		return
	}
	if want := machines()[c.Arch]; file.Machine != want {
		c.refuse(e.Path, "take the one for "+c.Arch, "it is for %s", file.Machine)
	}
	if loader := interpreter(file); loader != "" {
		c.startedBy(e, loader)
	}
}

// script: what can be executed and is no binary.
func (c *checker) script(e Entry) {
	line, found := bytes.CutPrefix(e.Data, []byte("#!"))
	line, _, _ = bytes.Cut(line, []byte("\n"))
	words := strings.Fields(string(line))
	if !found || len(words) == 0 {
		c.refuse(e.Path, "use 0644", "it can be executed, and is no program")
		return
	}
	if path.Base(words[0]) == "env" && len(words) > 1 {
		c.refuse(e.Path, "name the program by its path", "what starts it is looked for in PATH: %s", words[1])
		return
	}
	c.startedBy(e, words[0])
}

func (c *checker) startedBy(e Entry, program string) {
	if _, found := c.program(program); !found {
		c.refuse(e.Path, "add "+program, "it needs %s, which is not in the service's root", program)
	}
}

func machines() map[string]elf.Machine {
	return map[string]elf.Machine{"arm64": elf.EM_AARCH64, "amd64": elf.EM_X86_64}
}

func interpreter(file *elf.File) string {
	for _, p := range file.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, p.Filesz)
		if _, err := p.ReadAt(name, 0); err == nil {
			return string(bytes.TrimRight(name, "\x00"))
		}
	}
	return ""
}

// modules: each is one that the kernel would take.
func (c *checker) modules() {
	if c.Kernel == "" {
		return
	}
	count := 0
	for _, name := range c.sorted() {
		e := c.files[name]
		if e.Type == tar.TypeDir || !within(c.extras(), name) {
			continue
		}
		count++
		if path.Ext(name) != ".ko" {
			c.refuse(name, "unpack it to a .ko", "Talos loads modules that are not compressed, and nothing else belongs here")
			continue
		}
		if release, err := KernelOf(e.Data); err != nil || release != c.Kernel {
			c.refuse(name, "build it for "+c.Kernel, "the module is for kernel %q", release)
		}
	}
	if count == 0 {
		c.refuse(c.extras(), "add them", "the modules are missing")
	}
}

// budget: the root lies in the initramfs, and so in memory while a node boots.
func (c *checker) budget() {
	var total int64
	for _, e := range c.files {
		total += int64(len(e.Data))
	}
	if total > c.Budget {
		c.refuse(rootfs, "see the table of what takes the room", "it takes %d bytes of the %d it may", total, c.Budget)
	}
}

// Sizes adds up the files by what name makes of their paths.
func Sizes(content []Entry, name func(path string) string) map[string]int64 {
	out := map[string]int64{}
	for _, e := range content {
		if len(e.Data) > 0 {
			out[name(e.Path)] += int64(len(e.Data))
		}
	}
	return out
}
