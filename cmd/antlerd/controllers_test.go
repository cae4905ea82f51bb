package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/moosefs/protocol"
)

// A master that didn't answer the last question has not lost its chunkservers.
func TestChunkserversThatAreNotCountedStay(t *testing.T) {
	now := time.Unix(1000, 0)
	m := &localMaster{line: protocol.Line{Client: protocol.Client{Address: "127.0.0.1:0"}}, chunkservers: 3}

	require.Error(t, m.count(t.Context(), now))
	require.NoError(t, m.count(t.Context(), now.Add(countInterval)), "it isn't asked again at once")
	require.Equal(t, 3, m.chunkservers)
}
