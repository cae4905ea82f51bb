package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"antler/services/node/config"
)

// k3s is the k3s that goes into the image, if any: Debian has none, so it is taken
// from where the person who builds says, and only if it is what they say it is.
type k3s struct {
	// from is a file, or an http or https URL.
	from, version, sha256 string
	// ca is a file with the certificates (PEM) that the system trusts: registries
	// are asked for a pod's images by https, and Debian's own are not in the image.
	ca string
}

var (
	k3sVersion = regexp.MustCompile(`^v\d+\.\d+\.\d+[0-9A-Za-z.-]*\+k3s\d+$`)
	sha256Sum  = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// k3sLinks are commands that k3s is as well.
var k3sLinks = []string{"kubectl", "crictl"}

func (k k3s) given() bool { return k.from != "" }

// check says what is missing, before anything is done.
func (k k3s) check() error {
	switch {
	case !k.given() && k != (k3s{}):
		return errors.New("settings for k3s without k3s itself: give its file or URL (K3S)")
	case !k.given():
		return nil
	case !k3sVersion.MatchString(k.version):
		return fmt.Errorf("k3s %s: %q is not a version of k3s: give the one that it is expected to be, such as v1.33.1+k3s1 (K3S_VERSION)", k.from, k.version)
	case !sha256Sum.MatchString(k.sha256):
		return fmt.Errorf("k3s %s: %q is not a SHA-256: give the one that its release states, 64 digits 0-9 and a-f (K3S_SHA256)", k.from, k.sha256)
	}
	_, err := k.certificates()
	return err
}

// certificates are the content of ca, or nothing.
func (k k3s) certificates() ([]byte, error) {
	if k.ca == "" {
		return nil, nil
	}
	text, err := os.ReadFile(k.ca)
	if err != nil {
		return nil, fmt.Errorf("certificates for k3s: %w", err)
	}
	if !bytes.Contains(text, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil, fmt.Errorf("certificates for k3s: %s has none: give a file with PEM blocks (K3S_CA)", k.ca)
	}
	return text, nil
}

// inputs tell one k3s from another.
func (k k3s) inputs() ([]string, error) {
	ca, err := k.certificates()
	return []string{k.version, k.sha256, fmt.Sprintf("%x", sha256.Sum256(ca))}, err
}

// take returns the path of the program, which is what was expected.
func (k k3s) take(ctx context.Context, cache string) (string, error) {
	path, err := k.from, error(nil)
	if strings.HasPrefix(k.from, "https://") || strings.HasPrefix(k.from, "http://") {
		path, err = k.fetch(ctx, filepath.Join(cache, "k3s"))
	}
	if err == nil {
		err = k.verify(path)
	}
	if err != nil {
		return "", fmt.Errorf("k3s %s: %w", k.from, err)
	}
	return path, nil
}

func (k k3s) verify(path string) error {
	sum, err := fileSHA256(path)
	if err != nil {
		return err
	}
	if sum != k.sha256 {
		return k.mismatch(sum)
	}
	program, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("it is not a program: %w: give the file named k3s-arm64", err)
	}
	defer func() { _ = program.Close() }()
	if program.Machine != elf.EM_AARCH64 {
		return fmt.Errorf("it is a program for %s, and the image is for arm64: give the file named k3s-arm64", program.Machine)
	}
	return nil
}

func (k k3s) mismatch(sum string) error {
	return fmt.Errorf("its SHA-256 is %s, and %s was expected of %s: nothing was built; get the file again, or correct K3S_SHA256 if the release states another",
		sum, k.sha256, k.version)
}

// maxK3s is far above any k3s, and below what would fill a disk.
const maxK3s = 512 << 20

// fetch downloads what isn't in dir yet.
func (k k3s) fetch(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, k.sha256)
	if sum, err := fileSHA256(path); err == nil && sum == k.sha256 {
		return path, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.from, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the server says %q: correct the URL, or give a local file", answer.Status)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(dir, "new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(file, sum), io.LimitReader(answer.Body, maxK3s))
	if err = errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != k.sha256 {
		return "", k.mismatch(got)
	}
	return path, os.Rename(file.Name(), path)
}

// install puts the program at path into the root, and says there which it is.
func (k k3s) install(path, root string) error {
	ca, err := k.certificates()
	if err != nil {
		return err
	}
	if ca != nil {
		err = put(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"), ca, 0o644)
	}
	errs := []error{
		err,
		install(path, filepath.Join(root, config.K3sProgram)),
		put(filepath.Join(root, config.K3sVersion), []byte(k.version+"\n"), 0o644),
	}
	for _, name := range k3sLinks {
		errs = append(errs, link(filepath.Join(root, filepath.Dir(config.K3sProgram), name), filepath.Base(config.K3sProgram)))
	}
	return errors.Join(errs...)
}
