package command

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]uint64{
		"0": 0, "1048576": 1 << 20, "10GiB": 10 << 30, "10Gi": 10 << 30, "10gib": 10 << 30, "10 GiB": 10 << 30,
		"10G": 10e9, "10GB": 10e9, "1.5T": 15e11, "1.5TiB": 3 << 39, "64K": 64000, "7B": 7, "1EiB": 1 << 60,
	} {
		got, err := parseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}

	for _, text := range []string{"", "GiB", "-1G", "10X", "10GG", "10i", "1e400", "99999999EiB", "ten", "NaN", "Inf", "10GiBs"} {
		_, err := parseSize(text)
		require.ErrorContains(t, err, "is not a size", text)
	}
}

func TestFormatSize(t *testing.T) {
	for bytes, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 10 << 30: "10 GiB", 3 << 39: "1.5 TiB", 1 << 63: "8 EiB",
	} {
		require.Equal(t, want, formatSize(bytes))
	}
}
