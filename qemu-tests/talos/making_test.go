//go:build vm

package talos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	antlerv1 "antler/api/antler/v1"
	"antler/qemu-tests/lab"
)

// making is a workload that needs nothing in the machines: it makes volumes through
// the API, one after another. Each is several operations on MooseFS's metadata, and
// the answer is the acknowledgement.
type making struct {
	mu           sync.Mutex
	acknowledged []string
	last         time.Time
	longest      time.Duration

	end  context.CancelFunc
	done chan struct{}
}

// tryTime is what a node gets to answer: a volume takes some 3 s on three nodes of
// Talos that share two processors, and several times that while one of them boots.
const tryTime = 20 * time.Second

var prefixes int

func startMaking(ctx context.Context, t *testing.T, c *lab.Cluster) *making {
	t.Helper()

	ctx, end := context.WithCancel(ctx)
	m := &making{last: time.Now(), end: end, done: make(chan struct{})}
	prefixes++
	prefix := fmt.Sprintf("w%d", prefixes)

	t.Cleanup(end)

	go func() {
		defer close(m.done)

		for i := 0; ctx.Err() == nil; i++ {
			name := fmt.Sprintf("%s-%04d", prefix, i)
			if makeUntil(ctx, c, name) {
				m.note(name)
			}
		}
	}()

	return m
}

// makeUntil asks one node after the other until one acknowledges.
func makeUntil(ctx context.Context, c *lab.Cluster, name string) bool {
	for ctx.Err() == nil {
		for _, via := range c.Machines {
			if via.On() && makeVolume(ctx, c, via, name) == nil {
				return true
			}
		}

		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}

	return false
}

func makeVolume(ctx context.Context, c *lab.Cluster, via *lab.Machine, name string) error {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()

	conn, err := c.Dial(via)
	if err != nil {
		return err
	}
	defer conn.Close()

	_, err = antlerv1.NewVolumeServiceClient(conn).Create(ctx, &antlerv1.VolumeServiceCreateRequest{Name: name, SizeBytes: 1 << 30})

	return err
}

func (m *making) note(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.acknowledged = append(m.acknowledged, name)
	m.longest = max(m.longest, time.Since(m.last))
	m.last = time.Now()
}

func (m *making) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()

	return len(m.acknowledged)
}

// await waits until as many were acknowledged.
func (m *making) await(ctx context.Context, t *testing.T, count int) {
	t.Helper()

	for m.count() < count {
		select {
		case <-ctx.Done():
			t.Fatalf("wait for %d acknowledged volumes: %v: there are %d", count, ctx.Err(), m.count())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stop ends the workload and returns what was acknowledged, and the longest time
// between two acknowledgements.
func (m *making) stop() ([]string, time.Duration) {
	m.end()
	<-m.done

	return m.acknowledged, m.longest
}

// missing are those of the volumes that the cluster doesn't have.
func missing(ctx context.Context, t *testing.T, c *lab.Cluster, via *lab.Machine, volumes []string) []string {
	t.Helper()

	conn, err := c.Dial(via)
	require.NoError(t, err)

	defer conn.Close()

	response, err := antlerv1.NewVolumeServiceClient(conn).List(ctx, &antlerv1.VolumeServiceListRequest{})
	require.NoError(t, err)

	there := map[string]bool{}
	for _, volume := range response.GetVolumes() {
		there[volume.GetName()] = true
	}

	return slices.DeleteFunc(slices.Clone(volumes), func(name string) bool { return there[name] })
}
