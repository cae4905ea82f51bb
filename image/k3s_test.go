package main

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const testK3s = "v1.33.1+k3s1"

// program is the head of an ELF file, with nothing behind it.
func program(t *testing.T, machine elf.Machine) []byte {
	t.Helper()
	head := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Ehsize: 64}
	copy(head.Ident[:], elf.ELFMAG)
	head.Ident[elf.EI_CLASS], head.Ident[elf.EI_DATA], head.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	out, err := binary.Append(nil, binary.LittleEndian, head)
	require.NoError(t, err)
	return out
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// localK3s is a file and the words that go with it.
func localK3s(t *testing.T, content []byte) k3s {
	t.Helper()
	path := filepath.Join(t.TempDir(), "k3s-arm64")
	require.NoError(t, os.WriteFile(path, content, 0o644))
	return k3s{from: path, version: testK3s, sha256: hexSum(content)}
}

func TestK3sIsWhatWasExpectedOrNothing(t *testing.T) {
	good := program(t, elf.EM_AARCH64)
	k := localK3s(t, good)
	path, err := k.take(t.Context(), t.TempDir())
	require.NoError(t, err)
	require.Equal(t, k.from, path)

	damaged := localK3s(t, append(good, 'x'))
	damaged.sha256 = hexSum(good)
	_, err = damaged.take(t.Context(), t.TempDir())
	require.ErrorContains(t, err, damaged.from+": its SHA-256 is "+hexSum(append(good, 'x'))+", and "+hexSum(good)+" was expected of "+testK3s)

	_, err = localK3s(t, program(t, elf.EM_X86_64)).take(t.Context(), t.TempDir())
	require.ErrorContains(t, err, "for EM_X86_64, and the image is for arm64")

	_, err = localK3s(t, []byte("#!/bin/sh\n")).take(t.Context(), t.TempDir())
	require.ErrorContains(t, err, "it is not a program")

	gone := k
	gone.from += "-gone"
	_, err = gone.take(t.Context(), t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestK3sByURLIsFetchedOnce(t *testing.T) {
	good := program(t, elf.EM_AARCH64)
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/k3s-arm64" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(good)
	}))
	defer server.Close()
	cache := t.TempDir()
	k := k3s{from: server.URL + "/k3s-arm64", version: testK3s, sha256: hexSum(good)}
	for range 2 {
		path, err := k.take(t.Context(), cache)
		require.NoError(t, err)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, good, got)
	}
	require.Equal(t, 1, asked)

	other := k
	other.sha256 = hexSum([]byte("other"))
	_, err := other.take(t.Context(), cache)
	require.ErrorContains(t, err, "its SHA-256 is "+k.sha256)
	left, err := os.ReadDir(filepath.Join(cache, "k3s"))
	require.NoError(t, err)
	require.Len(t, left, 1, "what was not expected is not kept")

	require.NoError(t, os.WriteFile(filepath.Join(cache, "k3s", k.sha256), good[:10], 0o644))
	_, err = k.take(t.Context(), cache)
	require.NoError(t, err, "a damaged copy is replaced")

	k.from = server.URL + "/elsewhere"
	_, err = k.take(t.Context(), t.TempDir())
	require.ErrorContains(t, err, "404")
}

func TestK3sIsNamedWholeOrNotAtAll(t *testing.T) {
	certificates := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(certificates, []byte("-----BEGIN CERTIFICATE-----\n"), 0o644))
	sum := hexSum(nil)

	require.NoError(t, k3s{}.check())
	require.NoError(t, k3s{from: "k3s", version: testK3s, sha256: sum}.check())
	require.NoError(t, k3s{from: "k3s", version: "v1.33.1-rc1+k3s1", sha256: sum, ca: certificates}.check())

	for _, tc := range []struct {
		k3s  k3s
		want string
	}{
		{k3s{version: testK3s, sha256: sum}, "(K3S)"},
		{k3s{from: "k3s", sha256: sum}, "K3S_VERSION"},
		{k3s{from: "k3s", version: "1.33", sha256: sum}, "K3S_VERSION"},
		{k3s{from: "k3s", version: testK3s}, "K3S_SHA256"},
		{k3s{from: "k3s", version: testK3s, sha256: sum[1:]}, "K3S_SHA256"},
		{k3s{from: "k3s", version: testK3s, sha256: sum, ca: "/gone.pem"}, "/gone.pem"},
		{k3s{from: "k3s", version: testK3s, sha256: sum, ca: "packages.lock"}, "has none"},
	} {
		require.ErrorContains(t, tc.k3s.check(), tc.want)
	}
}

func TestK3sInTheRoot(t *testing.T) {
	root := t.TempDir()
	good := program(t, elf.EM_AARCH64)
	k := localK3s(t, good)
	k.ca = filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(k.ca, []byte("-----BEGIN CERTIFICATE-----\n"), 0o600))
	require.NoError(t, k.install(k.from, root))

	got, err := os.ReadFile(filepath.Join(root, "usr/local/bin/kubectl"))
	require.NoError(t, err)
	require.Equal(t, good, got, "by the link")
	info, err := os.Stat(filepath.Join(root, "usr/local/bin/k3s"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode())
	version, err := os.ReadFile(filepath.Join(root, "usr/local/share/k3s/version"))
	require.NoError(t, err)
	require.Equal(t, testK3s+"\n", string(version))
	require.FileExists(t, filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))

	parts, err := measure(root)
	require.NoError(t, err)
	require.Equal(t, int64(len(good)), parts[shareOf("usr/local/bin/k3s")])
}

// What reads these units is systemd, which no unit test has: that they name what
// there is can be seen here.
func TestK3sUnitNamesWhatThereIs(t *testing.T) {
	unit, err := overlay.ReadFile("rootfs/etc/systemd/system/k3s.service")
	require.NoError(t, err)
	for _, want := range []string{
		"ConditionPathExists=/usr/local/bin/k3s\n", "ConditionPathExists=/run/antler/k3s.env\n", "EnvironmentFile=/run/antler/k3s.env\n",
		"ExecStart=/usr/local/bin/k3s ${ANTLER_K3S_ROLE}\n", "ExecStartPre=/usr/bin/antlerd await-mount ",
	} {
		require.Contains(t, string(unit), want)
	}
	require.Equal(t, "../k3s.service", links["etc/systemd/system/multi-user.target.wants/k3s.service"])
	require.Equal(t, "/var/lib/rancher/etc", links["etc/rancher"])
}
