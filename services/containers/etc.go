package containers

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

// MFSUser is the uid and gid of MooseFS's daemons: the image's passwd has the
// same, and data paths belong to it.
const MFSUser = 942

// defaultFiles are what every container has in /etc. MooseFS looks up its own
// user, and root for the exports.
func defaultFiles() map[string]File {
	return map[string]File{
		"passwd": {World: true, Content: fmt.Sprintf(
			"root:x:0:0:root:/:/usr/sbin/nologin\nmfs:x:%d:%d:MooseFS:/:/usr/sbin/nologin\n", MFSUser, MFSUser)},
		"group":         {World: true, Content: fmt.Sprintf("root:x:0:\nmfs:x:%d:\n", MFSUser)},
		"nsswitch.conf": {World: true, Content: "passwd: files\ngroup: files\nhosts: files dns\n"},
		"hosts":         {World: true, Content: "127.0.0.1 localhost\n::1 localhost\n"},
	}
}

// writeEtc writes a container's /etc anew. Nothing of an earlier one stays,
// and nobody but the owners can read what is secret at any moment.
func writeEtc(dir string, files map[string]File) error {
	all := defaultFiles()
	maps.Copy(all, files)

	err := os.RemoveAll(dir)
	if err != nil {
		return fmt.Errorf("clear %s: %w", dir, err)
	}

	for name, file := range all {
		err = writeFile(dir, name, file)
		if err != nil {
			return err
		}
	}

	return nil
}

func writeFile(dir, name string, file File) error {
	if !filepath.IsLocal(name) || strings.HasSuffix(name, "/") {
		return fmt.Errorf("write %q below /etc of a container: the name leads elsewhere", name)
	}

	path := filepath.Join(dir, name)

	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err != nil {
		return fmt.Errorf("make room for %s: %w", path, err)
	}

	mode := os.FileMode(0o600)
	if file.World {
		mode = 0o644
	}

	err = os.WriteFile(path, []byte(file.Content), mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}

	if file.Owner == 0 {
		return nil
	}

	err = os.Chown(path, file.Owner, file.Owner)
	if err != nil {
		return fmt.Errorf("give %s to uid %d: %w", path, file.Owner, err)
	}

	return nil
}
