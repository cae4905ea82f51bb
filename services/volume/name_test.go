package volume

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "0", "web", "pvc-4f0b6e0a-7a3b-4a44-9d1e-0f8d5a3f6a11", "a.b-c", strings.Repeat("x", 63)} {
		require.NoError(t, CheckName(good), good)
	}

	for _, bad := range []string{
		"", ".", "..", "-", "a.", ".a", "-a", "a-", "a..b", "a/b", "/a", "A", "a_b", "a b", "a@b", "a~b", "ä", "a\x00",
		"a\n", strings.Repeat("x", 64), ".archive", "\xff",
	} {
		require.ErrorIs(t, CheckName(bad), ErrInvalid, "%q", bad)
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"web", "..", "a/b", ".x", "a.b"} {
		f.Add(s)
	}

	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}

		if component(name) != nil || filepath.Join("/volumes", name) != "/volumes/"+name ||
			strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-") || len(name) > MaxName {
			t.Fatalf("%q was accepted", name)
		}
	})
}

func FuzzArchiveID(f *testing.F) {
	for _, s := range []string{"web@20251120T120000Z~20251127T120000Z", "web@~", "@", "a@b@c", "web@20251120T120000Z~20251127T120000Z/.."} {
		f.Add(s)
	}

	f.Fuzz(func(t *testing.T, text string) {
		id, err := parseArchiveID(text)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)

			return
		}

		require.Equal(t, text, id.String())
		require.NoError(t, component(text))
		require.NoError(t, CheckName(id.name))
	})
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"x","name":"web","size":1048576}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"id":"x","name":"../web","size":1048576}`))

	f.Fuzz(func(t *testing.T, mark []byte) {
		r, err := parseRecord(mark)
		if err != nil {
			require.ErrorIs(t, err, ErrPrecondition)

			return
		}

		require.NoError(t, CheckName(r.Name))
		require.NotZero(t, r.Size)
	})
}

func TestParseQuota(t *testing.T) {
	const out = `/proc/self/fd/3:
soft quota grace period: 1w (default)
          |        current value |           soft quota | percent |           hard quota | percent |
 inodes   |                    5 |                    - |       - |                   20 |   25.00 |
 length   |             70108864 |                    - |       - |            104857600 |   66.86 |
 size     |             70139904 |                    - |       - |                    - |       - |
 realsize |            140279808 |                    - |       - |                    - |       - |
/proc/self/fd/4:
soft quota grace period: default
          |        current value |           soft quota | percent |           hard quota | percent |
 inodes   |                    0 |                    - |       - |                    - |       - |
 length   |                    0 |                    - |       - |                    - |       - |
`
	require.Equal(t, map[string]Quota{"/proc/self/fd/3": {Used: 70108864, Limit: 104857600, UsedInodes: 5, InodeLimit: 20}, "/proc/self/fd/4": {}}, parseQuota([]byte(out)))
}

func FuzzParseQuota(f *testing.F) {
	f.Add([]byte("/a:\n length | 1 |\n"))
	f.Add([]byte(" length | 1 |\n/a:"))
	f.Fuzz(func(_ *testing.T, out []byte) { parseQuota(out) })
}
