package replication

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"antler/services/authority"
)

func TestRenderConfig(t *testing.T) {
	spec := ReplicaSpecSpec{Device: "/dev/vdb", Peer: "n2", SelfAddress: "10.0.0.1", PeerAddress: "fd00::2"}

	text, err := renderConfig("n1", spec, authority.DefaultTiming())
	require.NoError(t, err)

	for _, line := range []string{
		"protocol C;", "fencing resource-and-stonith;", "on-io-error detach;",
		"ping-int 1;", "ping-timeout 5;",
		// Less than ping-int, as drbd.conf(5) wants it.
		"timeout 9;",
		"after-sb-0pri disconnect;", "after-sb-1pri disconnect;", "after-sb-2pri disconnect;", "rr-conflict disconnect;",
		`on "n1" {`, "address ipv4 10.0.0.1:7789;", `on "n2" {`, "address ipv6 [fd00::2]:7789;", "meta-disk internal;",
	} {
		assert.Contains(t, text, line)
	}
}

func TestAClusterOfOneFencesNobody(t *testing.T) {
	text, err := renderConfig("n1", ReplicaSpecSpec{Device: "/dev/vdb", SelfAddress: "10.0.0.1"}, authority.DefaultTiming())
	require.NoError(t, err)
	assert.Contains(t, text, "fencing dont-care;")
	assert.NotContains(t, text, "n2")
}

func TestTimeoutIsAlwaysBelowPingInt(t *testing.T) {
	timing := authority.DefaultTiming()
	timing.ReplicaPingInterval, timing.ReplicaTimeout = 2*time.Second, 5*time.Second

	assert.Contains(t, netOptions(timing), "timeout 19;")
}

func TestAnAddressThatIsNone(t *testing.T) {
	_, err := renderConfig("n1", ReplicaSpecSpec{SelfAddress: "n1.local"}, authority.DefaultTiming())
	require.ErrorContains(t, err, `"n1.local" is no address`)
}
