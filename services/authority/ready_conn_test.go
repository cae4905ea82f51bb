package authority

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadyConnCanBeUsed(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()

	ready := newReadyConn(ours)
	require.True(t, ready.take())

	go func() { _, _ = theirs.Write([]byte{7}) }()

	got := make([]byte, 1)
	_, err := ready.Read(got)
	require.NoError(t, err)
	require.Equal(t, []byte{7}, got)
	require.NoError(t, ready.Close())
}

func TestReadyConnThatEnded(t *testing.T) {
	ours, theirs := net.Pipe()
	ready := newReadyConn(ours)

	require.NoError(t, theirs.Close())
	<-ready.ended
	require.False(t, ready.take())
}
