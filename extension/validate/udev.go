package validate

import (
	"archive/tar"
	"path"
	"regexp"
	"strings"
)

// udevRules is where the node's udev reads its rules. An extension's files lie over
// Talos's own.
const udevRules = rootfs + "/usr/lib/udev/rules.d"

// A rule is a list of KEY{attribute}=="value". udev passes over what it doesn't
// understand, and says so in its log alone.
var (
	ruleLine = regexp.MustCompile(`^` + ruleItem + `(\s*,\s*` + ruleItem + `)*\s*,?$`)
	// runs are the keys that have udev run a program.
	runs = regexp.MustCompile(`\b(PROGRAM|RUN|IMPORT\{program\})`)
)

const ruleItem = `[A-Z]+(\{[^}]+\})?\s*(==|!=|\+=|-=|:=|=)\s*"[^"]*"`

// ruleFile reports whether the file is one of rules, with a name of the extension's
// own (61-NAME-WHAT.rules), so that it can't take the place of one of Talos's.
func (c *checker) ruleFile(name string) bool {
	own := regexp.MustCompile(`^[0-9]{2}-` + regexp.QuoteMeta(c.Name) + `(-[a-z0-9-]+)?\.rules$`)
	return path.Dir(name) == udevRules && own.MatchString(path.Base(name))
}

// udev: each file has rules, and none needs what the node doesn't have.
func (c *checker) udev() {
	for _, name := range c.sorted() {
		if !c.ruleFile(name) {
			continue
		}
		e := c.files[name]
		if e.Type != tar.TypeReg || e.Mode != 0o644 {
			c.refuse(name, "use a file with mode 0644", "rules are no program")
			continue
		}
		c.rules(e)
	}
}

func (c *checker) rules(e Entry) {
	found := false
	for line := range strings.SplitSeq(strings.ReplaceAll(string(e.Data), "\\\n", ""), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case !ruleLine.MatchString(line):
			c.refuse(e.Path, "see udev(7)", "udev would pass over what is no rule: %s", line)
		case runs.MatchString(line):
			c.refuse(e.Path, "remove it", "udev has none of the service's programs to run: %s", line)
		}
		found = true
	}
	if !found {
		c.refuse(e.Path, "remove the file", "it has no rule")
	}
}
