package main

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadRootArgument(t *testing.T) {
	hash := strings.Repeat("0f", 32)
	got, err := readRootArgument("console=ttyAMA0 antler.root=1234:" + hash + " quiet\n")
	require.NoError(t, err)
	require.Equal(t, verityRoot{blocks: 1234, hash: hash}, got)

	for _, cmdline := range []string{
		"", "console=tty0", "antler.root=", "antler.root=12", "antler.root=12:zz", "antler.root=0:" + hash,
		"antler.root=-1:" + hash, "antler.root=12:" + hash[2:], "antler.root=12:" + hash + "00",
	} {
		_, err := readRootArgument(cmdline)
		require.ErrorContains(t, err, "antler.root=", cmdline)
	}
}

func TestDeviceMapperMessages(t *testing.T) {
	target := dmTarget(80, "verity", "1 /dev/vda2")
	require.Zero(t, len(target)%8, "the kernel wants it aligned")
	require.Equal(t, uint64(80), binary.LittleEndian.Uint64(target[8:]))
	require.Equal(t, uint32(len(target)), binary.LittleEndian.Uint32(target[20:]))
	require.Equal(t, "verity\x00", string(target[24:31]))
	require.Equal(t, "1 /dev/vda2\x00", string(target[40:52]))

	message := dmMessage(target)
	require.Equal(t, uint32(len(message)), binary.LittleEndian.Uint32(message[12:]))
	require.Equal(t, uint32(312), binary.LittleEndian.Uint32(message[16:]), "where the target is")
	require.Equal(t, uint32(1), binary.LittleEndian.Uint32(message[20:]))
	require.Equal(t, target, message[312:])
	require.Len(t, dmMessage(nil), 312)
}
