package main

import (
	"os"
	"path"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// DRBD may be loaded before antlerd has a say, and whoever loads it reads this file.
func TestDRBDsHandlerIsInTheImage(t *testing.T) {
	text, err := os.ReadFile("rootfs/etc/modprobe.d/antler.conf")
	require.NoError(t, err)

	found := regexp.MustCompile(`(?m)^options drbd usermode_helper=/usr/bin/(\S+)$`).FindSubmatch(text)
	require.NotNil(t, found)
	require.Contains(t, programs, path.Base(string(found[1])))
}
