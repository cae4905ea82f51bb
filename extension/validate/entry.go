package validate

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
)

// Entry is a file, directory or link of the image.
type Entry struct {
	// Path as the archive has it.
	Path string
	// Type is one of archive/tar's.
	Type     byte
	Mode     fs.FileMode
	UID, GID int
	// Link is the target of a symbolic link, Data the content of a file.
	Link string
	Data []byte
}

// Read reads the content of an image, uncompressed.
func Read(r io.Reader) ([]Entry, error) {
	var out []Entry
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the extension's content: %w", err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return nil, fmt.Errorf("read %s of the extension: %w", header.Name, err)
		}
		out = append(out, Entry{
			Path: header.Name, Type: header.Typeflag, Mode: header.FileInfo().Mode(),
			UID: header.Uid, GID: header.Gid, Link: header.Linkname, Data: data,
		})
	}
}

// entry checks what can be said of an entry by itself.
func (c *checker) entry(e Entry) {
	name := strings.TrimSuffix(e.Path, "/")
	if reason := badName(name); reason != "" {
		c.refuse(fmt.Sprintf("%q", e.Path), "rename it", "%s", reason)
		return
	}
	if _, twice := c.files[name]; twice {
		c.refuse(name, "keep one", "it is there twice")
		return
	}
	e.Path = name
	c.files[name] = e
	c.place(e)
	c.permissions(e)
}

// badName says why a path can't be one. Its parts are held to what every file
// system and every tool on the way can carry.
func badName(name string) string {
	if name != path.Clean(name) || path.IsAbs(name) || name == "." {
		return "it is no clean relative path"
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "..":
			return "it leads out of the image"
		case strings.HasPrefix(part, ".wh."):
			return "a layer's whiteout would remove a file"
		case len(part) > 255:
			return "a name has more than 255 bytes"
		case strings.ContainsFunc(part, odd):
			return "a name has characters other than printable ASCII, or a space"
		}
	}
	return ""
}

func odd(r rune) bool { return r > unicode.MaxASCII || !unicode.IsGraphic(r) || unicode.IsSpace(r) }

// place checks that an entry is where an extension of this kind may have one.
func (c *checker) place(e Entry) {
	if e.Path == manifestFile || e.Path == c.specFile() {
		return
	}
	above := []string{c.root(), c.specFile(), udevRules}
	if c.Kernel != "" {
		above = append(above, c.extras())
	}
	if e.Type == tar.TypeDir && slices.ContainsFunc(above, func(p string) bool { return within(e.Path, p) }) {
		return
	}
	inside := within(c.root(), e.Path) || c.ruleFile(e.Path) || c.Kernel != "" && within(c.extras(), e.Path)
	if !inside {
		c.refuse(e.Path, "put it below "+c.root(), "an extension may not have it there")
	}
}

// within reports whether name is dir or below it: /usr/localfoo is not within
// /usr/local.
func within(dir, name string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// permissions: nobody but root may change anything, everybody may read.
func (c *checker) permissions(e Entry) {
	if e.UID != 0 || e.GID != 0 {
		c.refuse(e.Path, "make it root's", "it belongs to %d:%d", e.UID, e.GID)
	}
	switch e.Type {
	case tar.TypeDir:
		if mode := e.Mode &^ fs.ModeDir; mode != 0o755 {
			c.refuse(e.Path, "use 0755", "a directory has mode %v", e.Mode)
		}
	case tar.TypeReg:
		if e.Mode != 0o644 && e.Mode != 0o755 {
			c.refuse(e.Path, "use 0644 or 0755", "a file has mode %v", e.Mode)
		}
	case tar.TypeSymlink:
	default:
		c.refuse(e.Path, "use files, directories and symbolic links", "it is of another type (%q)", e.Type)
	}
}

// layout: the image holds exactly the manifest and rootfs, every directory with
// its own entry, since Talos would make up a mode for it, and every file below
// directories.
func (c *checker) layout() {
	for _, path := range []string{manifestFile, c.specFile()} {
		if e, found := c.files[path]; !found || e.Type != tar.TypeReg {
			c.refuse(path, "add it", "the file is missing")
		}
	}
	for _, path := range []string{rootfs, c.root()} {
		if e, found := c.files[path]; !found || e.Type != tar.TypeDir {
			c.refuse(path, "add it", "the directory is missing")
		}
	}
	for _, name := range c.sorted() {
		parent := path.Dir(name)
		if parent == "." {
			continue
		}
		if e, found := c.files[parent]; !found || e.Type != tar.TypeDir {
			c.refuse(name, "give "+parent+" an entry of its own", "its directory is none, or not in the image")
		}
	}
}

func (c *checker) sorted() []string {
	out := make([]string, 0, len(c.files))
	for name := range c.files {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
