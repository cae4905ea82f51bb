package authority

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func kindsBetween(was, is AuthorityStatusSpec) []string {
	var kinds []string
	for _, e := range eventsBetween(was, is) {
		kinds = append(kinds, e.kind)
	}

	return kinds
}

func TestAGrantIsToldOnce(t *testing.T) {
	holds := AuthorityStatusSpec{
		Self: "n1", ConsentID: "c", Epoch: 1, Holder: "n1", IsHolder: true, HaveQuorum: true, Formatted: true, Leader: "n2", Replicas: []string{"n1", "n2"},
	}

	forming := holds
	forming.Epoch, forming.Holder, forming.IsHolder, forming.Formatted = 0, "", false, false
	require.Equal(t, []string{"authority.formed", "authority.granted"}, kindsBetween(forming, holds), "the first one ever")

	// The machine was reset: nothing is known of the lease, nor of the record.
	started := AuthorityStatusSpec{Self: "n1"}
	require.Equal(t, []string{"authority.leader"}, kindsBetween(started, holds))

	again := holds
	again.Epoch = 3
	require.Equal(t, []string{"authority.granted"}, kindsBetween(holds, again))
}

func TestLastSeenIsToldOnlyOfWhoIsGone(t *testing.T) {
	at := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

	require.Zero(t, lastSeen(NodeView{LastSeen: at}, true))
	require.Equal(t, at, lastSeen(NodeView{LastSeen: at}, false))
}
