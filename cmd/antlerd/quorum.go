package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"antler/services/authority"
	"antler/services/node/clock"
	"antler/services/node/config"
	"antler/services/server"
)

func newAuthority(ctx context.Context, cfg *config.Config, timing authority.Timing, wall *clock.Clock, logger *zap.Logger) (*authority.Authority, error) {
	serverTLS, clientTLS, err := nodesOnly(cfg.PKI)
	if err != nil {
		return nil, err
	}

	parts := authority.Config{
		Members: authority.MembersOf(cfg.Cluster), AwaitRestore: cfg.Cluster.Metadata.AwaitRestore,
		Self: cfg.Node.Name, ClusterID: cfg.Cluster.ID, Dir: filepath.Join(config.StateDir, "raft"),
		Timing: timing, ServerTLS: serverTLS, ClientTLS: clientTLS, Now: time.Now, Logger: logger,
		Heard: func(name string, at time.Time) { wall.Heard("the clock of "+name, at) }, Keep: wall.Keep,
		Memory: authority.LeaseFile(filepath.Join(config.RunDir, "lease")),
		Boot:   bootID(logger), GuardMemory: authority.GuardFile{LeaseFile: authority.LeaseFile(filepath.Join(config.RunDir, "guard"))},
	}

	if cfg.Self().Voter() {
		parts.Listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf(":%d", config.RaftPort))
		if err != nil {
			return nil, fmt.Errorf("listen for the quorum: %w", err)
		}
	}

	return authority.New(parts)
}

// certificateReserve is what certificates are good for at least where a clock is put to.
const certificateReserve = 30 * 24 * time.Hour

// newClock is put to no time at which this node's certificate, or the CA's, isn't good for
// long any more.
func newClock(pki config.PKI, events *server.EventLog, logger *zap.Logger) (*clock.Clock, error) {
	expires, err := pki.Expires()
	if err != nil {
		return nil, err
	}

	return clock.New(expires.Add(-certificateReserve), func(kind, message string) { events.Emit(kind, 0, message) }, logger), nil
}

// bootID is a random number of this boot, "" where it can't be read.
func bootID(logger *zap.Logger) string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		logger.Warn("this node can't tell its boots apart, so it is never called dead", zap.Error(err))
	}

	return strings.TrimSpace(string(id))
}

// nodesOnly returns the TLS configurations of both ends between nodes: people's
// certificates, though of the same CA, don't get through.
func nodesOnly(pki config.PKI) (*tls.Config, *tls.Config, error) {
	pair, pool, err := pki.TLSCertificate()
	if err != nil {
		return nil, nil, err
	}

	verify := func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 || !slices.Contains(state.PeerCertificates[0].Subject.Organization, config.OrganizationNode) {
			return errors.New("the other end has no node's certificate")
		}

		return nil
	}
	base := tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, VerifyConnection: verify}

	serverTLS, clientTLS := base.Clone(), base.Clone()
	serverTLS.ClientAuth, serverTLS.ClientCAs = tls.RequireAndVerifyClientCert, pool
	clientTLS.RootCAs = pool

	return serverTLS, clientTLS, nil
}

// peerCaller is the node that makes a call of PeerService.
func peerCaller(ctx context.Context) (string, error) {
	caller := server.CallerFrom(ctx)
	if caller.Role != server.RoleNode {
		return "", status.Error(codes.PermissionDenied, "only the cluster's nodes may call this")
	}

	return caller.Name, nil
}

// memberAt finds a node by its address.
func memberAt(cluster config.Cluster) func(netip.Addr) (string, bool) {
	return func(address netip.Addr) (string, bool) {
		for _, m := range cluster.Nodes {
			if m.Address == address {
				return m.Name, true
			}
		}

		return "", false
	}
}
