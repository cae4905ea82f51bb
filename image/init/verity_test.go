package main

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

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
