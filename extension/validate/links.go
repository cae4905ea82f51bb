package validate

import (
	"archive/tar"
	"path"
	"strings"
)

// maxLinks on the way to a file: what the kernel follows.
const maxLinks = 40

// links: each leads to something in the same root, as the service sees it.
func (c *checker) links() {
	for _, name := range c.sorted() {
		e := c.files[name]
		if e.Type != tar.TypeSymlink {
			continue
		}
		inner, found := strings.CutPrefix(name, c.root()+"/")
		if !found {
			c.refuse(name, "put the file itself there", "a link outside of the service's root")
			continue
		}
		// In the root that the service has for its own containers /usr is an
		// empty directory here, and the service's own when it is used.
		inner = strings.TrimPrefix(inner, "usr/lib/"+c.Name+"/rootfs/")
		target := e.Link
		if !path.IsAbs(target) {
			target = path.Dir(inner) + "/" + target
		}
		if _, found := c.resolve(c.root(), target); !found {
			c.refuse(name, "add what it leads to, or drop it", "the link leads nowhere in the service's root: %s", e.Link)
		}
	}
}

// resolve follows the links on the way to a path below root. The result is the
// path in the image. A link that would climb out of the root stays in it, as
// with chroot(2); that is a mistake nevertheless, and not found.
func (c *checker) resolve(root, name string) (string, bool) {
	todo, at := strings.Split(name, "/"), ""
	for budget := maxLinks; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at == "" {
				return "", false
			}
			at = strings.TrimPrefix(path.Dir("/"+at), "/")
			continue
		}
		next := path.Join(at, part)
		e, found := c.files[path.Join(root, next)]
		if !found {
			return "", false
		}
		if e.Type != tar.TypeSymlink {
			at = next
			continue
		}
		if budget--; budget < 0 {
			return "", false
		}
		if path.IsAbs(e.Link) {
			at = ""
		}
		todo = append(strings.Split(e.Link, "/"), todo...)
	}
	return path.Join(root, at), true
}
