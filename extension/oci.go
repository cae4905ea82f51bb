package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// image is what is written for one architecture.
type image struct {
	arch string
	// content is the path of the uncompressed tar that is the only layer. Talos's
	// imager takes it as it is (tarballPath).
	content string
	sizes   map[string]int64
	// digest and size of the image's layer, compressed.
	digest v1.Hash
	size   int64
}

// writeContent packs the stage.
func writeContent(stage, to string) error {
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := tar.NewWriter(file)
	err = walk(stage, func(path string, info fs.FileInfo) error {
		return pack(archive, stage, path, info)
	})
	return errors.Join(err, archive.Close(), file.Close())
}

// pack adds one entry. What differs between two builds is left out: times, and
// who built it.
func pack(archive *tar.Writer, stage, path string, info fs.FileInfo) error {
	header := &tar.Header{Name: path, Mode: int64(info.Mode().Perm()), Format: tar.FormatUSTAR}
	var data []byte
	var err error
	switch info.Mode().Type() {
	case fs.ModeDir:
		header.Typeflag, header.Name = tar.TypeDir, path+"/"
	case fs.ModeSymlink:
		header.Typeflag, header.Mode = tar.TypeSymlink, 0o777
		header.Linkname, err = os.Readlink(filepath.Join(stage, path))
	case 0:
		header.Typeflag = tar.TypeReg
		data, err = os.ReadFile(filepath.Join(stage, path))
		header.Size = int64(len(data))
	default:
		err = fmt.Errorf("/%s is of a type that an image doesn't have: %v", path, info.Mode())
	}
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(header); err != nil {
		return fmt.Errorf("pack /%s: %w", path, err)
	}
	_, err = archive.Write(data)
	return err
}

// assemble makes the OCI image around the content.
func assemble(content, arch string) (v1.Image, error) {
	layer, err := tarball.LayerFromFile(content,
		tarball.WithCompressionLevel(gzip.BestCompression), tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.AppendLayers(img, layer)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	return mutate.ConfigFile(img, config)
}

// writeImages writes all of them into one OCI layout, each with its platform in
// the index: there Talos's imager (ociPath) looks for it. Beside it each gets an
// archive of its own for those who load or push single images.
func writeImages(out, tag string, images []image) error {
	path, err := layout.Write(filepath.Join(out, "oci"), empty.Index)
	if err != nil {
		return fmt.Errorf("write the OCI layout: %w", err)
	}
	ref, err := name.NewTag("antler:" + tag)
	if err != nil {
		return err
	}
	for i := range images {
		made := &images[i]
		img, err := assemble(made.content, made.arch)
		if err != nil {
			return err
		}
		err = path.AppendImage(img, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: made.arch}))
		if err != nil {
			return fmt.Errorf("write the OCI layout: %w", err)
		}
		err = tarball.WriteToFile(filepath.Join(out, "antler-"+made.arch+".tar"), ref, img)
		if err != nil {
			return fmt.Errorf("write the image's archive: %w", err)
		}
		if err := made.measure(img); err != nil {
			return err
		}
	}
	return nil
}

func (made *image) measure(img v1.Image) error {
	var err error
	if made.digest, err = img.Digest(); err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		size, err := layer.Size()
		if err != nil {
			return err
		}
		made.size += size
	}
	return nil
}
