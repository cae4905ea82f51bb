package authority

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Member is a node of the cluster.
type Member struct {
	Name string
	// Address of the API, RaftAddress of Raft, as host:port.
	Address, RaftAddress string
	// Voter takes part in Raft; Replica holds the metadata.
	Voter, Replica bool
	// Roles are for people.
	Roles []string
}

// Config is what an Authority is made of.
type Config struct {
	// Self is this node's name in Members.
	Self      string
	ClusterID string
	Members   []Member
	// AwaitRestore: see config.Metadata.
	AwaitRestore bool
	// Dir keeps the store of a voter; it is made if it doesn't exist.
	Dir    string
	Timing Timing
	// Listener accepts the connections of Raft; nil on a node that doesn't vote.
	// The Authority closes it.
	Listener net.Listener
	// ServerTLS accepts, and ClientTLS makes, connections with other nodes. Both
	// present this node's certificate and let only nodes' certificates through;
	// the server's name is filled in.
	ServerTLS, ClientTLS *tls.Config
	// Dial makes connections; that of a net.Dialer where it is nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Memory tells the next run of antlerd how long this one's lease lasts.
	Memory LeaseMemory
	// Boot is a random id of this boot of the machine; empty where it can't be
	// read. GuardMemory tells the next run of antlerd in it of this node's guard;
	// nil where none is given.
	Boot        string
	GuardMemory GuardMemory
	// Now is the clock. Its times must have a monotonic reading, as time.Now's.
	Now func() time.Time
	// Heard is called with what the wall clock of another node showed that serves, and Keep
	// with each renewal. They may be nil.
	Heard func(node string, at time.Time)
	Keep  func()
	// Wall is what this node tells others of its wall clock; nil for Now.
	Wall func() time.Time

	Logger *zap.Logger
}

// Authority is one node's part in the authority. Make one with New, and Run it.
// Its methods may be called from any goroutine, before and during Run.
type Authority struct {
	config Config
	self   Member
	peers  *peers
	// started is when this run of antlerd began, inherited when the lease of the
	// last one ends at the latest.
	started, inherited time.Time
	// renewNow asks for a renewal before its time; over is closed when Run is to end.
	renewNow, over chan struct{}

	// writing is held while the identity's file is replaced.
	writing sync.Mutex

	// remembering is held while the end of the lease is written down, with the
	// hold that this run has asked for; forgets says that it could not be.
	remembering sync.Mutex
	heldFor     time.Duration
	forgets     bool
	// guardForgets says the same of the guard.
	guardForgets bool

	mu sync.Mutex
	// changed is closed and replaced at each change of what is below.
	changed chan struct{}
	// identity of the store, and what this run of antlerd numbers with.
	identity identity
	sequence *Sequence
	// quorum is nil on a node that doesn't vote; voteError says why it should
	// but doesn't.
	quorum    *quorum
	voteError error
	// leading is set while this node leads and may answer renewals.
	leading *leadership
	// record is the latest that this node knows of, from its own log or from the
	// leader.
	record State
	index  uint64
	// answered is when the last renewal was sent that a leader answered.
	answered time.Time
	leader   string
	reason   string
	lease    HolderLease
	nodes    map[string]NodeView
	alive    map[string]bool
	report   Report
	// guardTTL is that of the guard which this node offers, 0 for none; guardedUntil
	// is zero unless it is bound by one.
	guardTTL     time.Duration
	guardedUntil time.Time
	// unheard is the leader in whose place this node stood, for it didn't hear it, and
	// unheardAt when that was, or when it was last asked; empty if it hears it.
	unheard   string
	unheardAt time.Time
	// clockAhead is by how much this node's wall clock is ahead of the serving node's.
	clockAhead time.Duration
}

// New checks the configuration. Nothing runs and nothing is written before Run.
func New(c Config) (*Authority, error) {
	i := slices.IndexFunc(c.Members, func(m Member) bool { return m.Name == c.Self })
	if i < 0 {
		return nil, fmt.Errorf("set up the authority: node %q is not a member of the cluster: correct its configuration", c.Self)
	}

	voters := 0

	for _, m := range c.Members {
		if m.Voter {
			voters++
		}
	}

	if voters%2 == 0 {
		return nil, fmt.Errorf("set up the authority: %d voters: the number must be odd, so that one half can't be cut off from the other: add or remove a witness", voters)
	}

	if err := c.Timing.Validate(); err != nil {
		return nil, fmt.Errorf("set up the authority: %w", err)
	}

	if c.Members[i].Voter && c.Listener == nil {
		return nil, errors.New("set up the authority: a voter needs a listener for Raft")
	}

	if c.Heard == nil {
		c.Heard = func(string, time.Time) {}
	}

	if c.Wall == nil {
		c.Wall = c.Now
	}

	if c.Keep == nil {
		c.Keep = func() {}
	}

	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}

	a := &Authority{
		config: c, self: c.Members[i], started: c.Now(),
		renewNow: make(chan struct{}, 1), over: make(chan struct{}), changed: make(chan struct{}),
		nodes: map[string]NodeView{}, alive: map[string]bool{},
	}
	a.inherited = a.recall()

	if err := a.recallGuard(); err != nil {
		return nil, err
	}

	a.identity.Run = runAt(a.started)
	a.sequence = NewSequence(a.identity.Run)
	a.peers = newPeers(c)

	return a, nil
}

// recall returns until when a lease of the last run may be valid, with the hold
// that it asked for before a planned restart.
func (a *Authority) recall() time.Time {
	left, known, err := a.config.Memory.Recall()
	if err != nil {
		a.config.Logger.Warn("what serves is left alone for as long as a lease can last", zap.Error(err))
	}

	if err != nil || !known {
		return a.started.Add(a.config.Timing.LeaseTTL)
	}

	return a.started.Add(min(left, a.config.Timing.LeaseTTL+MaxHold))
}

// Run takes part until ctx ends. A store that can't be used is not an error of
// Run: this node doesn't vote then, and its status says why.
func (a *Authority) Run(ctx context.Context) error {
	defer a.peers.close()
	defer context.AfterFunc(ctx, func() { close(a.over) })()

	g, ctx := errgroup.WithContext(ctx)
	// A metadata node renews with the number of its run, so that comes first.
	s, usable := a.openStore()

	g.Go(func() error { return a.renewForever(ctx) })
	g.Go(func() error { return a.endHold(ctx) })

	if usable {
		g.Go(func() error { return a.vote(ctx, s) })
	}

	return g.Wait()
}

// openStore opens a voter's store. If it can't be used, voteError says why.
func (a *Authority) openStore() (store, bool) {
	if !a.self.Voter {
		return store{}, false
	}

	s, id, err := a.readStore()
	if err != nil {
		a.doNotVote(err)

		return store{}, false
	}

	a.mu.Lock()
	a.identity, a.sequence = id, NewSequence(id.Run)
	a.mu.Unlock()

	return s, true
}

func (a *Authority) readStore() (store, identity, error) {
	if err := os.MkdirAll(a.config.Dir, 0o700); err != nil {
		return store{}, identity{}, fmt.Errorf("make the directory of the Raft store: %w", err)
	}

	id, err := loadIdentity(a.config.Dir, a.config.ClusterID, a.started)
	if err != nil {
		return store{}, identity{}, err
	}

	// Before it has taken part there is nothing to remember. What a power cut
	// left of the first attempt is made again.
	if id.Roster == nil {
		if err := os.RemoveAll(filepath.Join(a.config.Dir, logFile)); err != nil {
			return store{}, identity{}, fmt.Errorf("start with a new Raft log: %w", err)
		}
	}

	s, err := openStore(a.config.Dir, newRaftLogger(a.config.Logger))

	return s, id, err
}

// doNotVote keeps this node out of Raft. It goes on in everything else.
func (a *Authority) doNotVote(err error) {
	a.config.Logger.Error("this node does not vote", zap.Error(err))

	if closeErr := a.config.Listener.Close(); closeErr != nil {
		a.config.Logger.Info("close the Raft listener", zap.Error(closeErr))
	}

	a.update(func() { a.voteError = err })
}

// vote joins the quorum and takes its part until ctx ends.
func (a *Authority) vote(ctx context.Context, s store) error {
	if err := a.introduce(ctx, s); err != nil {
		if ctx.Err() == nil {
			a.doNotVote(err)

			return s.close()
		}

		return errors.Join(a.config.Listener.Close(), s.close())
	}

	q, err := a.parts().join(s)
	if err != nil {
		a.doNotVote(err)

		return s.close()
	}

	a.update(func() {
		a.quorum = q
		a.learn(q.record.read())
	})

	var wg sync.WaitGroup

	wg.Go(func() { a.standForever(ctx, q) })
	a.lead(ctx, q)
	q.stream.dialNoMore() // who stands would wait for a connection
	wg.Wait()

	a.update(func() { a.quorum = nil })

	return q.leave()
}

func (a *Authority) parts() quorumParts {
	return quorumParts{
		self: a.self, voters: a.voters(), dir: a.config.Dir, timing: a.config.Timing,
		listener: a.config.Listener, server: a.config.ServerTLS, client: a.config.ClientTLS, dial: a.config.Dial,
		logger: a.config.Logger, changed: a.applied,
	}
}

func (a *Authority) voters() []Member {
	return slices.DeleteFunc(slices.Clone(a.config.Members), func(m Member) bool { return !m.Voter })
}

// applied takes over the record from this voter's own log.
func (a *Authority) applied() {
	a.mu.Lock()
	defer a.mu.Unlock()

	if a.quorum == nil {
		return // still replaying the log; the first renewal brings the record
	}

	a.learn(a.quorum.record.read())
}

// learn takes over a record that is newer than the one known. The lock is held.
func (a *Authority) learn(s State, index uint64) {
	if index <= a.index {
		return
	}

	newEpoch := s.Epoch > a.record.Epoch
	a.record, a.index = s, index
	a.lease.Learn(s.Epoch)
	a.notify()

	if newEpoch && s.Holder == a.config.Self {
		a.kick() // the first renewal of the epoch is its first lease
	}
}

// kick asks for a renewal at once.
func (a *Authority) kick() {
	select {
	case a.renewNow <- struct{}{}:
	default:
	}
}

// update changes something and tells those who wait on Changed.
func (a *Authority) update(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()

	change()
	a.notify()
}

// notify wakes those who wait on Changed. The lock is held.
func (a *Authority) notify() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change of anything that
// Status tells, but for the mere passing of time.
func (a *Authority) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.changed
}

// Report is what this node tells the leader about itself from now on.
func (a *Authority) Report(r Report) {
	a.mu.Lock()
	defer a.mu.Unlock()

	r.Leaving = r.Leaving || a.report.Leaving
	if reflect.DeepEqual(r, a.report) {
		return
	}

	a.report = r
	a.kick()
}
