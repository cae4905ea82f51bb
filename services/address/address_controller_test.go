package address

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cosi-project/runtime/pkg/resource/rtestutils"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeNetwork is a node with one interface.
type fakeNetwork struct {
	mu        sync.Mutex
	addresses []netip.Addr
	broken    error
	homeless  error
	claimed   func(net.HardwareAddr)
	// announced are the times of announcements.
	announced []time.Time
	joined    int
	changed   chan struct{}
}

func (n *fakeNetwork) Watch(context.Context) <-chan struct{} { return n.changed }

func (n *fakeNetwork) Add(addr netip.Addr) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()

	if n.broken == nil && !slices.Contains(n.addresses, addr) {
		n.addresses = append(n.addresses, addr)
	}

	return "eth0", n.broken
}

func (n *fakeNetwork) Home(netip.Addr) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()

	return "eth0", n.homeless
}

func (n *fakeNetwork) Remove(addr netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()

	n.addresses = slices.DeleteFunc(n.addresses, func(a netip.Addr) bool { return a == addr })

	return n.broken
}

func (n *fakeNetwork) Leftovers() ([]netip.Addr, error) { return n.have(), nil }

func (n *fakeNetwork) Join(_ string, _ netip.Addr, claimed func(net.HardwareAddr)) (Segment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()

	n.claimed = claimed
	n.joined++

	return n, nil
}

func (n *fakeNetwork) Announce() error {
	n.mu.Lock()
	defer n.mu.Unlock()

	n.announced = append(n.announced, time.Now())

	return nil
}

func (n *fakeNetwork) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()

	n.joined--

	return nil
}

func (n *fakeNetwork) have() []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()

	return slices.Clone(n.addresses)
}

// since returns when it was announced, counted from start.
func (n *fakeNetwork) since(start time.Time) []time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()

	var out []time.Duration
	for _, at := range n.announced {
		out = append(out, at.Sub(start))
	}

	return out
}

func (n *fakeNetwork) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()

	change()
}

// journal collects events.
type journal struct {
	mu    sync.Mutex
	kinds []string
}

func (j *journal) Emit(kind string, epoch uint64, _ string) {
	j.mu.Lock()
	defer j.mu.Unlock()

	j.kinds = append(j.kinds, fmt.Sprintf("%s@%d", kind, epoch))
}

func (j *journal) have() []string {
	j.mu.Lock()
	defer j.mu.Unlock()

	return slices.Clone(j.kinds)
}

// bench is a controller in a bubble of its own time.
type bench struct {
	network *fakeNetwork
	journal *journal
	ctx     context.Context
	state   state.State
}

func newBench(t *testing.T, leftovers ...netip.Addr) *bench {
	t.Helper()

	b := &bench{network: &fakeNetwork{addresses: leftovers, changed: make(chan struct{}, 1)}, journal: &journal{}}
	b.ctx, b.state = engine(t, &Controller{Network: b.network, Events: b.journal, Times: DefaultTimes()})

	return b
}

func (b *bench) decide(t *testing.T, hold bool, epoch uint64) {
	t.Helper()

	spec := NewAddressSpec()
	*spec.TypedSpec() = AddressSpecSpec{Hold: hold, Epoch: epoch, Addresses: []string{"10.77.0.100/24"}, Candidate: true}

	err := b.state.Create(b.ctx, spec)
	if state.IsConflictError(err) {
		update(b.ctx, t, b.state, spec, func(r *AddressSpec) { *r.TypedSpec() = *spec.TypedSpec() })

		return
	}

	require.NoError(t, err)
}

func (b *bench) expect(t *testing.T, assertion func(*AddressStatusSpec, *assert.Assertions)) {
	t.Helper()

	rtestutils.AssertResource(b.ctx, t, b.state, AddressStatusID, func(r *AddressStatus, a *assert.Assertions) {
		assertion(r.TypedSpec(), a)
	})
}

// A standby says so before it is needed, and no longer than it is so.
func TestAStandbyWithoutTheNetworkSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.network.set(func() { b.network.homeless = errors.New("outside every local network") })

		b.decide(t, false, 4)
		b.expect(t, func(s *AddressStatusSpec, a *assert.Assertions) { a.Equal("outside every local network", s.Error) })

		b.network.set(func() { b.network.homeless = nil })
		b.network.changed <- struct{}{}
		synctest.Wait()
		b.expect(t, func(s *AddressStatusSpec, a *assert.Assertions) { a.Empty(s.Error) })
	})
}

func TestAddressIsAddedAnnouncedAndRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		start := time.Now()

		b.decide(t, true, 4)
		synctest.Wait()
		require.Equal(t, []netip.Addr{floating4}, b.network.have())
		b.expect(t, func(s *AddressStatusSpec, a *assert.Assertions) {
			a.Equal(AddressStatusSpec{Held: []string{"10.77.0.100"}, Interface: "eth0", Epoch: 4, Announced: true}, *s)
		})

		time.Sleep(23 * time.Second)
		synctest.Wait()

		const ms = time.Millisecond
		require.Equal(t, []time.Duration{0, 100 * ms, 500 * ms, 2000 * ms, 12000 * ms, 22000 * ms}, b.network.since(start))

		b.decide(t, false, 4)
		synctest.Wait()
		require.Empty(t, b.network.have(), "no time may pass before it is gone")
		require.Zero(t, b.network.joined)
		b.expect(t, func(s *AddressStatusSpec, a *assert.Assertions) { a.Empty(s.Held); a.Empty(s.Error) })
		require.Equal(t, []string{"address.added@4", "address.announced@4", "address.removed@4"}, b.journal.have())
	})
}

func TestLostAddressIsPutBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.decide(t, true, 1)
		synctest.Wait()

		b.network.set(func() { b.network.addresses = nil })
		b.network.changed <- struct{}{}
		synctest.Wait()
		require.Equal(t, []netip.Addr{floating4}, b.network.have())
	})
}

func TestLostAddressIsPutBackThoughTheKernelToldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.decide(t, true, 1)
		synctest.Wait()

		b.network.set(func() { b.network.addresses = nil })
		time.Sleep(DefaultTimes().Repeat)
		synctest.Wait()
		require.Equal(t, []netip.Addr{floating4}, b.network.have())
	})
}

func TestLeftoverStaysUntilItIsDecided(t *testing.T) {
	for _, c := range []struct {
		name string
		// decide after a start of antlerd that found the address in place.
		decide func(*testing.T, *bench)
		after  time.Duration
		stays  bool
	}{
		{"nothing known yet", func(*testing.T, *bench) {}, time.Second, true},
		{"never decided", func(*testing.T, *bench) {}, 2 * DefaultTimes().Leftover, false},
		{"still ours", func(t *testing.T, b *bench) { b.decide(t, true, 2) }, 2 * DefaultTimes().Leftover, true},
		{"another's", func(t *testing.T, b *bench) { b.decide(t, false, 3) }, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, floating4)
				c.decide(t, b)
				time.Sleep(c.after)
				synctest.Wait()
				require.Equal(t, c.stays, slices.Contains(b.network.have(), floating4))
			})
		})
	}
}

func TestLeftoverOfAnotherConfigurationIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, netip.MustParseAddr("10.77.0.200"))
		b.decide(t, false, 1)
		synctest.Wait()
		require.Empty(t, b.network.have())
	})
}

func TestConflictIsReportedAnsweredAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		start := time.Now()
		b.decide(t, true, 1)
		time.Sleep(3 * time.Second)
		synctest.Wait()

		b.network.claimed(net.HardwareAddr{2, 0, 0, 0, 0, 9})
		synctest.Wait()
		b.expect(t, func(s *AddressStatusSpec, a *assert.Assertions) {
			a.Contains(s.Error, "02:00:00:00:00:09 also claims floating address 10.77.0.100")
			a.Equal([]string{"10.77.0.100"}, s.Held, "the lease says that it is ours")
		})
		require.Equal(t, 3*time.Second, b.network.since(start)[4], "a claim is answered at once")

		b.network.claimed(net.HardwareAddr{2, 0, 0, 0, 0, 9})
		synctest.Wait()
		require.Len(t, b.network.since(start), 5, "but not each one")
		require.Contains(t, b.journal.have(), "address.conflict@1")

		time.Sleep(DefaultTimes().Claim + DefaultTimes().Repeat)
		synctest.Wait()
		b.expect(t, func(s *AddressStatusSpec, a *assert.Assertions) { a.Empty(s.Error) })
	})
}

func TestFailureIsReportedAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.network.set(func() { b.network.broken = errors.New("no such network") })
		b.decide(t, true, 1)
		synctest.Wait()
		b.expect(t, func(s *AddressStatusSpec, a *assert.Assertions) {
			a.Empty(s.Held)
			a.Equal("no such network", s.Error)
		})

		b.network.set(func() { b.network.broken = nil })
		time.Sleep(DefaultTimes().Again)
		synctest.Wait()
		require.Equal(t, []netip.Addr{floating4}, b.network.have(), "it is not put off any longer")
		b.expect(t, func(s *AddressStatusSpec, a *assert.Assertions) { a.True(s.Announced); a.Empty(s.Error) })

		b.network.set(func() { b.network.broken = errors.New("busy") })
		b.decide(t, false, 1)
		synctest.Wait()
		b.expect(t, func(s *AddressStatusSpec, a *assert.Assertions) { a.Contains(s.Error, "busy") })

		b.network.set(func() { b.network.broken = nil })
		time.Sleep(DefaultTimes().Again)
		synctest.Wait()
		b.expect(t, func(s *AddressStatusSpec, a *assert.Assertions) { a.Empty(s.Held); a.Empty(s.Error) })
	})
}

func TestStopOfAntlerdLeavesTheAddress(t *testing.T) {
	network := &fakeNetwork{}

	t.Run("run", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			network = b.network
			b.decide(t, true, 1)
			synctest.Wait()
		})
	})

	require.Equal(t, []netip.Addr{floating4}, network.have())
	require.Zero(t, network.joined, "nothing listens any more")
}
