//go:build vm

package image

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"antler/qemu-tests/lab"
)

// suite is what was found, for build/reports/image.json.
var suite lab.Report

func TestMain(m *testing.M) {
	suite.Name = "image"
	code := m.Run()

	if err := suite.Write(root+"build/reports", os.Stdout); err != nil {
		fmt.Println(err)

		code = 1
	}

	exit(code)
}

func exit(code int) { os.Exit(code) }

// report adds the test's case when it has ended, with the figures it has by then.
func report(t *testing.T, promise string) (figures map[string]any) {
	t.Helper()

	figures = map[string]any{}

	t.Cleanup(func() {
		suite.Add(lab.Case{Name: strings.TrimPrefix(t.Name(), "Test"), Promise: promise, Passed: !t.Failed(), Figures: figures})
	})

	return figures
}

// seconds since a moment, for a figure.
func seconds(since time.Time) float64 {
	return time.Since(since).Round(100 * time.Millisecond).Seconds()
}

// mebibytes of a file, and of what it takes on this machine's disk.
func mebibytes(t *testing.T, path string) (size, taken float64) {
	t.Helper()

	var stat syscall.Stat_t
	if err := syscall.Stat(root+path, &stat); err != nil {
		t.Fatal(err)
	}

	const tenths = (1 << 20) / 10

	return float64(stat.Size/tenths) / 10, float64(stat.Blocks*512/tenths) / 10
}
