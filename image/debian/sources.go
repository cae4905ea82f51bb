package debian

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
)

// unreleased is where Debian's packages go first: it is not a release, and has
// neither updates nor a security archive.
const unreleased = "sid"

// Sources asks the build machine's own apt where its Debian packages come
// from and returns the sources.list lines for the suite's components ("main",
// or several with blanks between) at the same place, so
// that a machine with a local mirror uses it. No lines means mmdebstrap's own
// default: that is what a machine without Debian sources gets (Ubuntu, or one
// that never ran "apt-get update").
func Sources(suite, components string) []string {
	out, err := exec.Command("apt-get", "indextargets",
		"--format", "$(REPO_URI) $(RELEASE) $(ORIGIN) $(LABEL)", "Created-By: Packages").Output()
	if err != nil {
		return nil
	}
	return suiteSources(string(out), suite, components)
}

// suiteSources turns "URI release origin label" lines into the sources of one
// suite, its updates and its security updates. Releases of third parties and
// backports are left out: the image is made of one release.
func suiteSources(targets, suite, components string) []string {
	var archive, security string
	lines := bufio.NewScanner(strings.NewReader(targets))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 4 || f[2] != "Debian" {
			continue
		}
		switch f[3] {
		case "Debian":
			archive = first(archive, f[0])
		case "Debian-Security":
			security = first(security, f[0])
		}
	}
	if archive == "" {
		return nil
	}
	sources := []string{fmt.Sprintf("deb %s %s %s", archive, suite, components)}
	if suite == unreleased {
		return sources
	}
	sources = append(sources, fmt.Sprintf("deb %s %s-updates %s", archive, suite, components))
	if security != "" {
		sources = append(sources, fmt.Sprintf("deb %s %s-security %s", security, suite, components))
	}
	return sources
}

func first(have, next string) string {
	if have != "" {
		return have
	}
	return next
}
