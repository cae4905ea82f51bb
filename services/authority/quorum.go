package authority

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// quorum is this voter's part in Raft.
type quorum struct {
	self      Member
	raft      *raft.Raft
	record    *replicated
	store     store
	stream    *stream
	transport *calmTransport
}

// quorumParts are what a quorum is made of.
type quorumParts struct {
	self           Member
	voters         []Member
	dir            string
	timing         Timing
	listener       net.Listener
	server, client *tls.Config
	dial           dial
	logger         *zap.Logger
	// changed is called after each change of the record.
	changed func()
}

// join takes part in Raft: from here on this node votes. The caller has made
// sure that this node has not lost an earlier store (bootstrap.go).
func (p quorumParts) join(s store) (q *quorum, err error) {
	defer catchFault(&err, "start Raft from the store in "+p.dir)()

	stream := newStream(p)
	transport := newCalmTransport(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Logger:                newRaftLogger(p.logger),
		Stream:                stream,
		MaxPool:               3,
		Timeout:               p.timing.RaftIO,
		ServerAddressProvider: p,
	}), p.timing.HeartbeatInterval, stream.dialing.Done())
	q = &quorum{self: p.self, record: &replicated{changed: p.changed}, store: s, stream: stream, transport: transport}

	q.raft, err = raft.NewRaft(p.config(), q.record, p.cached(s), s.log, s.snapshots, transport)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start Raft from the store in %s: %w: %s", p.dir, err, replaceAdvice), transport.Close())
	}

	leads := q.leads
	transport.leads.Store(&leads)

	return q, nil
}

// bootstrap writes the first configuration to an empty store: the same one on
// all voters.
func (p quorumParts) bootstrap(s store) error {
	var configuration raft.Configuration
	for _, m := range p.voters {
		configuration.Servers = append(configuration.Servers, raft.Server{
			ID:      raft.ServerID(m.Name),
			Address: raft.ServerAddress(m.RaftAddress),
		})
	}

	if err := raft.BootstrapCluster(p.config(), s.log, s.log, s.snapshots, nil, configuration); err != nil {
		return fmt.Errorf("write the first Raft configuration to %s: %w", p.dir, err)
	}

	return nil
}

func (p quorumParts) config() *raft.Config {
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(p.self.Name)
	config.HeartbeatTimeout = p.timing.RaftHeartbeat
	config.ElectionTimeout = p.timing.RaftElection
	config.LeaderLeaseTimeout = p.timing.RaftLeaderLease
	config.CommitTimeout = p.timing.RaftCommit
	config.Logger = newRaftLogger(p.logger)
	config.NoLegacyTelemetry = true
	config.ShutdownOnRemove = false
	// The record is small and changes about once per VersionInterval.
	config.SnapshotThreshold = 1024
	config.TrailingLogs = 512

	return config
}

// cached keeps the last entries in memory, where followers need them.
func (p quorumParts) cached(s store) raft.LogStore {
	cache, err := raft.NewLogCache(64, s.log)
	if err != nil {
		return s.log // only for a size below 1
	}

	return cache
}

func (p quorumParts) names() map[raft.ServerAddress]string {
	names := map[raft.ServerAddress]string{}
	for _, m := range p.voters {
		names[raft.ServerAddress(m.RaftAddress)] = m.Name
	}

	return names
}

// ServerAddr implements raft.ServerAddressProvider: the configuration file says
// where a node is, not the log.
func (p quorumParts) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	for _, m := range p.voters {
		if m.Name == string(id) {
			return raft.ServerAddress(m.RaftAddress), nil
		}
	}

	return "", fmt.Errorf("find the address of voter %s: it isn't in this node's configuration", id)
}

// leave stops taking part. It returns when Raft and its connections have ended.
func (q *quorum) leave() error {
	ended := q.raft.Shutdown()
	q.stream.dialNoMore()
	q.transport.deaf()

	return errors.Join(ended.Error(), q.stream.Close(), q.store.close())
}

// leader is the name of the leader that this voter knows, or "".
func (q *quorum) leader() string {
	_, id := q.raft.LeaderWithID()

	return string(id)
}
