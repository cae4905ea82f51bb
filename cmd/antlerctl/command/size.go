package command

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// sizeHelp explains how sizes are written.
const sizeHelp = "10GiB (or 10Gi) is 10 * 2^30 bytes, 10GB (or 10G) is 10 * 10^9"

// parseSize reads a size such as 10GiB, 1.5T or 1048576.
func parseSize(text string) (uint64, error) {
	number := strings.TrimRight(text, "KMGTPEibBkmgtpe ")
	unit := strings.ToLower(strings.TrimSpace(text[len(number):]))

	value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || value < 0 || math.IsInf(value, 0) || math.IsNaN(value) {
		return 0, fmt.Errorf("%q is not a size: %s", text, sizeHelp)
	}

	unit = strings.TrimSuffix(unit, "b")
	base := 1000.0

	if cut, binary := strings.CutSuffix(unit, "i"); binary {
		unit, base = cut, 1024
	}

	power := 0
	if unit != "" {
		power = strings.Index("kmgtpe", unit) + 1
	}

	bytes := value * math.Pow(base, float64(power))

	if unit != "" && (power == 0 || len(unit) != 1) || base == 1024 && unit == "" || bytes >= math.MaxUint64 {
		return 0, fmt.Errorf("%q is not a size: %s", text, sizeHelp)
	}

	return uint64(bytes), nil
}

// formatSize writes a size for people, such as 1.5 TiB.
func formatSize(bytes uint64) string {
	if bytes < 1024 {
		return fmt.Sprintf("%d B", bytes)
	}

	value, unit := float64(bytes), 0
	for value >= 1024 && unit < 6 {
		value /= 1024
		unit++
	}

	text := strconv.FormatFloat(value, 'f', 1, 64)

	return strings.TrimSuffix(text, ".0") + " " + "KMGTPE"[unit-1:unit] + "iB"
}

// sizeFlag is a size on the command line.
type sizeFlag uint64

// String implements pflag.Value.
func (s *sizeFlag) String() string {
	if *s == 0 {
		return ""
	}

	return formatSize(uint64(*s))
}

// Set implements pflag.Value.
func (s *sizeFlag) Set(text string) error {
	size, err := parseSize(text)
	*s = sizeFlag(size)

	return err
}

// Type implements pflag.Value.
func (*sizeFlag) Type() string { return "size" }
