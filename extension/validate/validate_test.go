package validate

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	spec = "rootfs/usr/local/etc/containers/demo.yaml"
	root = "rootfs/usr/local/lib/containers/demo"
)

func want() Want { return Want{Name: "demo", Arch: "arm64", Budget: 1 << 20} }

// good is an extension that nothing is wrong with.
func good() []Entry {
	return []Entry{
		file("manifest.yaml", goodManifest),
		dir("rootfs"), dir("rootfs/usr"), dir("rootfs/usr/local"),
		dir("rootfs/usr/local/etc"), dir("rootfs/usr/local/etc/containers"), file(spec, goodSpec),
		dir("rootfs/usr/local/lib"), dir("rootfs/usr/local/lib/containers"), dir(root), dir(root + "/usr"), dir(root + "/usr/bin"),
		program(root+"/usr/bin/demo", armProgram), link(root+"/bin", "usr/bin"), link(root+"/usr/bin/other", "/bin/demo"),
	}
}

const goodManifest = `version: v1alpha1
metadata:
  name: demo
  version: v1.0-dirty
  author: Somebody
  description: Something.
  compatibility: {talos: {version: ">= v1.13.0"}}
`

const goodSpec = `name: demo
container:
  entrypoint: /usr/bin/demo
  environment: ["PATH=/usr/bin"]
  mounts:
    - {source: /var/lib/demo, destination: /var/lib/demo, type: bind, options: [rbind, rshared, rw]}
  security: {rootfsPropagation: shared}
depends:
  - service: cri
restart: always
`

func dir(path string) Entry {
	return Entry{Path: path + "/", Type: tar.TypeDir, Mode: fs.ModeDir | 0o755}
}

func file(path, content string) Entry {
	return Entry{Path: path, Type: tar.TypeReg, Mode: 0o644, Data: []byte(content)}
}

func program(path string, content []byte) Entry {
	return Entry{Path: path, Type: tar.TypeReg, Mode: 0o755, Data: content}
}

func link(path, target string) Entry {
	return Entry{Path: path, Type: tar.TypeSymlink, Mode: fs.ModeSymlink | 0o777, Link: target}
}

// armProgram is the header of an ELF file for arm64, with nothing in it.
var armProgram = header(183)

func header(machine uint16) []byte {
	out := make([]byte, 64)
	copy(out, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(out[16:], 2)
	binary.LittleEndian.PutUint16(out[18:], machine)
	binary.LittleEndian.PutUint32(out[20:], 1)
	binary.LittleEndian.PutUint16(out[52:], 64)
	return out
}

func TestGood(t *testing.T) { require.NoError(t, Check(good(), want())) }

// change replaces what the entry at path is.
func change(path string, by func(*Entry)) func([]Entry) []Entry {
	return func(content []Entry) []Entry {
		i := slices.IndexFunc(content, func(e Entry) bool { return strings.TrimSuffix(e.Path, "/") == path })
		by(&content[i])
		return content
	}
}

func add(more ...Entry) func([]Entry) []Entry {
	return func(content []Entry) []Entry { return append(content, more...) }
}

func remove(path string) func([]Entry) []Entry {
	return func(content []Entry) []Entry {
		return slices.DeleteFunc(content, func(e Entry) bool { return strings.TrimSuffix(e.Path, "/") == path })
	}
}

// text replaces a part of a file, which has to be there.
func text(path, old, replacement string) func([]Entry) []Entry {
	return change(path, func(e *Entry) {
		if !bytes.Contains(e.Data, []byte(old)) {
			panic("the test replaces what isn't there: " + old)
		}
		e.Data = bytes.Replace(e.Data, []byte(old), []byte(replacement), 1)
	})
}

type refusal struct {
	name   string
	change func([]Entry) []Entry
	says   string
}

func refuses(t *testing.T, want Want, list []refusal) {
	t.Helper()
	for _, r := range list {
		t.Run(r.name, func(t *testing.T) { require.ErrorContains(t, Check(r.change(good()), want), r.says) })
	}
}

func TestLayoutAndPaths(t *testing.T) {
	refuses(t, want(), []refusal{
		{"no manifest", remove("manifest.yaml"), "manifest.yaml: the file is missing"},
		{"no rootfs", remove("rootfs"), "rootfs: the directory is missing"},
		{"no service", remove(spec), "demo.yaml: the file is missing"},
		{"no root", remove(root), root + ": the directory is missing"},
		{"a file beside the manifest", add(file("README", "")), "README: an extension may not have it there"},
		{"a directory beside rootfs", add(dir("boot")), "boot: an extension may not have it there"},
		{"a program of the node", add(dir("rootfs/usr/bin")), "rootfs/usr/bin: an extension may not"},
		{"what only begins alike", add(dir("rootfs/usr/localfoo"), file("rootfs/usr/localfoo/x", "")), "rootfs/usr/localfoo/x: an extension may not"},
		{"the root of another service", add(dir("rootfs/usr/local/lib/containers/demo2")), "demo2: an extension may not"},
		{"another service", add(file("rootfs/usr/local/etc/containers/x.yaml", "")), "x.yaml: an extension may not"},
		{"modules that were not asked for", add(dir("rootfs/usr/lib"), dir("rootfs/usr/lib/modules")), "rootfs/usr/lib/modules: an extension may not"},
		{"a rule of Talos's", add(dir("rootfs/usr/lib"), dir("rootfs/usr/lib/udev"), dir(udevRules), file(udevRules+"/60-block.rules", "")), "60-block.rules: an extension may not"},
		{"something else of udev's", add(dir("rootfs/usr/lib"), dir("rootfs/usr/lib/udev"), dir("rootfs/usr/lib/udev/hwdb.d")), "hwdb.d: an extension may not"},
		{"a directory without an entry", add(file(root+"/opt/x", "")), "opt/x: its directory is none"},
		{"a file as a directory", add(file(root+"/usr/bin/demo/x", "")), "its directory is none"},
		{"twice", add(file(root+"/usr/x", ""), file(root+"/usr/x", "")), "usr/x: it is there twice"},
		{"absolute", add(file("/etc/passwd", "")), `"/etc/passwd": it is no clean relative path`},
		{"climbing", add(file("../x", "")), `"../x": it leads out of the image`},
		{"climbing inside", add(file("rootfs/../x", "")), "no clean relative path"},
		{"a whiteout", add(file(root+"/.wh.usr", "")), "whiteout"},
		{"a space", add(file(root+"/a b", "")), "printable ASCII"},
		{"a newline", add(file(root+"/a\nb", "")), "printable ASCII"},
		{"a letter of another alphabet", add(file(root+"/ä", "")), "printable ASCII"},
		{"a long name", add(file(root+"/"+strings.Repeat("x", 256), "")), "more than 255"},
	})
}

func TestPermissions(t *testing.T) {
	mode := func(path string, mode fs.FileMode) func([]Entry) []Entry {
		return change(path, func(e *Entry) { e.Mode = mode })
	}
	demo := root + "/usr/bin/demo"
	refuses(t, want(), []refusal{
		{"all may write", mode(demo, 0o757), "demo: a file has mode -rwxr-xrwx"},
		{"the group may write", mode(demo, 0o775), "a file has mode"},
		{"set-user-id", mode(demo, fs.ModeSetuid|0o755), "a file has mode u"},
		{"nobody may read", mode(spec, 0o600), "demo.yaml: a file has mode"},
		{"all may write to a directory", mode(root+"/usr", fs.ModeDir|0o777), "usr: a directory has mode"},
		{"sticky", mode(root+"/usr", fs.ModeDir|fs.ModeSticky|0o755), "usr: a directory has mode"},
		{"somebody's", change(demo, func(e *Entry) { e.UID = 1000 }), "demo: it belongs to 1000:0"},
		{"some group's", change(demo, func(e *Entry) { e.GID = 5 }), "it belongs to 0:5"},
		{"a device", add(Entry{Path: root + "/null", Type: tar.TypeChar, Mode: 0o644}), "null: it is of another type"},
		{"a hard link", add(Entry{Path: root + "/hard", Type: tar.TypeLink, Link: demo}), "hard: it is of another type"},
		{"a pipe", add(Entry{Path: root + "/pipe", Type: tar.TypeFifo, Mode: 0o644}), "pipe: it is of another type"},
	})
}

func TestLinks(t *testing.T) {
	refuses(t, want(), []refusal{
		{"dangling", add(link(root+"/x", "nowhere")), "x: the link leads nowhere in the service's root: nowhere"},
		{"out of the root", add(link(root+"/x", "../../../../../../../etc/passwd")), "x: the link leads nowhere"},
		{"to the node", add(link(root+"/x", "/usr/lib/modules")), "x: the link leads nowhere"},
		{"in a circle", add(link(root+"/x", "y"), link(root+"/y", "x")), "x: the link leads nowhere"},
		{"in the place of the service", change(spec, func(e *Entry) { *e = link(spec, "x") }), "demo.yaml: a link outside"},
	})
	inner := root + "/usr/lib/demo/rootfs"
	more := add(dir(root+"/usr/lib"), dir(root+"/usr/lib/demo"), dir(inner), dir(inner+"/usr"), link(inner+"/bin", "usr/bin"))
	require.NoError(t, Check(more(good()), want()), "the service's own containers have its /usr")
}

func TestManifest(t *testing.T) {
	m := func(old, replacement string) func([]Entry) []Entry { return text("manifest.yaml", old, replacement) }
	refuses(t, want(), []refusal{
		{"no name", m("name: demo", "name: ''"), "manifest.metadata.name"},
		{"another name", m("name: demo", "name: other"), `"other" is not the extension's name`},
		{"an unknown version of the format", m("v1alpha1", "v1"), `manifest.version: "v1" is not known`},
		{"no version", m("version: v1.0-dirty", "version: ''"), "manifest.metadata.version"},
		{"a version that is no tag", m("v1.0-dirty", "v1.0+x y"), "is no version"},
		{"no author", m("Somebody", "' '"), "author: it is empty"},
		{"no description", m("Something.", "''"), "description: it is empty"},
		{"for any Talos", m(">= v1.13.0", ""), "talos.version: it is empty"},
		{"for no Talos", m(">= v1.13.0", "new"), "is no constraint"},
		{"an unknown key", m("  author", "  license: x\n  author"), "license"},
		{"two documents", m("version: v1alpha1", "a: b\n---\nversion: v1alpha1"), "manifest.yaml"},
		{"no YAML", m("version: v1alpha1", "{"), "manifest.yaml"},
	})
	upper := want()
	upper.Name = "Demo"
	require.ErrorContains(t, Check(good(), upper), "manifest.metadata.name")
}

func TestBudget(t *testing.T) {
	small := want()
	small.Budget = 100
	require.ErrorContains(t, Check(good(), small), "bytes of the 100 it may")
}

func TestReadGivesWhatWasWritten(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range []tar.Header{
		{Name: "rootfs/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "rootfs/x", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 7, Size: 3},
		{Name: "rootfs/l", Typeflag: tar.TypeSymlink, Linkname: "x", Mode: 0o777},
	} {
		require.NoError(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := w.Write([]byte("abc"))
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	whole := archive.Bytes()

	got, err := Read(bytes.NewReader(whole))
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.Equal(t, Entry{Path: "rootfs/x", Type: tar.TypeReg, Mode: fs.ModeSetuid | 0o755, UID: 7, Data: []byte("abc")}, got[1])
	require.Equal(t, "x", got[2].Link)

	_, err = Read(bytes.NewReader(whole[:1025]))
	require.ErrorContains(t, err, "read ")
}

func TestSizes(t *testing.T) {
	sizes := Sizes(good(), func(path string) string { return path[strings.LastIndex(path, "/")+1:] })
	require.Equal(t, map[string]int64{
		"manifest.yaml": int64(len(goodManifest)), "demo.yaml": int64(len(goodSpec)), "demo": int64(len(armProgram)),
	}, sizes)
}
