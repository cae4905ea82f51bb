//go:build vm

package kubernetes

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Images that pods are made of: both are Debian's static busybox, which the nodes'
// own image has as well, and the lab's agent. There is no registry.
const (
	podImage   = "localhost/busybox:test"
	pauseImage = "localhost/pause:test"
)

// applets that pods call by their names.
var applets = strings.Fields(`sh cat dd echo mkdir rm rmdir sleep sync test [ ls df mv cp ln touch true false stat id grep sed tail head cut wc sort tr
	chmod chown sha256sum base64 find hostname env ps kill date expr printf mount umount truncate readlink mktemp basename dirname xargs uname`)

// writeImages writes both images into an archive, as `ctr images import` takes it.
func writeImages(to, agent string) error {
	return archiveImages(to, agent, map[string][]string{podImage: {"/bin/sh"}, pauseImage: {"/bin/sleep", "2147483647"}})
}

// archiveImages writes images with busybox and one more program, by their names and
// with these entrypoints.
func archiveImages(to, program string, entrypoints map[string][]string) error {
	busybox, err := debianBusybox()
	if err != nil {
		return fmt.Errorf("get busybox: %w", err)
	}

	more, err := os.ReadFile(program)
	if err != nil {
		return err
	}

	layer, err := layerOf(busybox, filepath.Base(program), more)
	if err != nil {
		return err
	}

	id, err := layer.DiffID()
	if err != nil {
		return err
	}

	base, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}

	images := map[name.Tag]v1.Image{}

	for ref, entrypoint := range entrypoints {
		tag, err := name.NewTag(ref)
		if err != nil {
			return err
		}

		images[tag], err = mutate.ConfigFile(base, &v1.ConfigFile{
			Architecture: "arm64", OS: "linux", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{id}},
			Config: v1.Config{Entrypoint: entrypoint, Env: []string{"PATH=/bin"}},
		})
		if err != nil {
			return err
		}
	}

	return tarball.MultiWriteToFile(to, images)
}

func layerOf(busybox []byte, program string, content []byte) (v1.Layer, error) {
	var buffer bytes.Buffer

	archive := tar.NewWriter(&buffer)
	write := func(h tar.Header, content []byte) error {
		h.Size, h.ModTime = int64(len(content)), time.Unix(0, 0)

		err := archive.WriteHeader(&h)
		if err == nil {
			_, err = archive.Write(content)
		}

		return err
	}

	var errs []error

	for _, dir := range []string{"bin/", "dev/", "proc/", "sys/", "etc/", "data/", "mnt/"} {
		errs = append(errs, write(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil))
	}

	errs = append(errs, write(tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, nil),
		write(tar.Header{Name: "bin/busybox", Mode: 0o755}, busybox), write(tar.Header{Name: program, Mode: 0o755}, content))

	for _, applet := range applets {
		errs = append(errs, write(tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil))
	}

	if err := errors.Join(append(errs, archive.Close())...); err != nil {
		return nil, err
	}

	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buffer.Bytes())), nil })
}

// debianBusybox is the program in the package that the image's lock names, of
// which the build keeps the archive.
func debianBusybox() ([]byte, error) {
	lock, err := os.ReadFile("../../image/packages.lock")
	if err != nil {
		return nil, err
	}

	for line := range strings.Lines(string(lock)) {
		fields := strings.Fields(line)
		if len(fields) != 4 || fields[0] != "busybox-static" {
			continue
		}

		content, err := exec.Command("dpkg-deb", "--fsys-tarfile", filepath.Join(root, "cache/debs", fields[3]+".deb")).Output()
		if err != nil {
			return nil, fmt.Errorf("open the package: %w", err)
		}

		return fileIn(content, "busybox")
	}

	return nil, errors.New("image/packages.lock does not name busybox-static")
}

func fileIn(archive []byte, base string) ([]byte, error) {
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", base, err)
		}

		if header.Typeflag == tar.TypeReg && filepath.Base(header.Name) == base {
			return io.ReadAll(reader)
		}
	}
}
