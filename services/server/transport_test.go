package server

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where there is no vsock antlerd goes on without; any other failure is one.
func TestVsockIsThereOrUnsupported(t *testing.T) {
	listener, err := ListenVsock(0xffffffff)
	if errors.Is(err, errors.ErrUnsupported) {
		require.ErrorContains(t, err, "listen on vsock")
		t.Skip(err)
	}

	require.NoError(t, err)
	require.NoError(t, listener.Close())
}

func TestListenTCP(t *testing.T) {
	listener, err := ListenTCP(t.Context(), 0)
	require.NoError(t, err)
	defer listener.Close()

	_, err = ListenTCP(t.Context(), -1)
	require.ErrorContains(t, err, "listen for the API")
}
