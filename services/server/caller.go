package server

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"antler/services/node/config"
)

// Role is what a caller may do.
type Role string

// The roles. Node is for the cluster's own nodes among themselves.
const (
	RoleNone   Role = ""
	RoleReader Role = "reader"
	RoleAdmin  Role = "admin"
	RoleNode   Role = "node"
)

// Caller is who makes a call.
type Caller struct {
	// Name for the records: the certificate's, or "root".
	Name string
	Role Role
	// Via is the node that passed the call on; empty when the caller came
	// itself.
	Via string
}

// Request metadata with which nodes pass calls on. It is believed only if it
// comes with a node's certificate.
const (
	metadataCaller = "antler-caller"
	metadataRole   = "antler-role"
)

// PeerCredentials is the AuthInfo of the unix socket: the kernel's word on who
// is at the other end.
type PeerCredentials struct {
	credentials.CommonAuthInfo
	UID uint32
}

// AuthType implements credentials.AuthInfo.
func (PeerCredentials) AuthType() string { return "SO_PEERCRED" }

// callerOf says who makes the call. Root is the uid that is an administrator on
// the unix socket.
func callerOf(ctx context.Context, root uint32) (Caller, error) {
	p, found := peer.FromContext(ctx)
	if !found {
		return Caller{}, deny()
	}

	switch info := p.AuthInfo.(type) {
	case PeerCredentials:
		if info.UID != root {
			return Caller{}, deny()
		}

		return Caller{Name: "root", Role: RoleAdmin}, nil
	case credentials.TLSInfo:
		chains := info.State.VerifiedChains
		if len(chains) == 0 || len(chains[0]) == 0 {
			return Caller{}, deny()
		}

		return passedOn(ctx, certified(chains[0][0])), nil
	default:
		return Caller{}, deny()
	}
}

func deny() error {
	return problem(codes.Unauthenticated, "NO_IDENTITY", "the caller did not say who it is",
		"use a client certificate of this cluster's CA, or the unix socket as root")
}

// certified is the caller that a verified certificate stands for.
func certified(cert *x509.Certificate) Caller {
	caller := Caller{Name: cert.Subject.CommonName}

	for _, known := range []struct {
		organization string
		role         Role
	}{
		{config.OrganizationNode, RoleNode},
		{config.OrganizationAdmin, RoleAdmin},
		{config.OrganizationReader, RoleReader},
	} {
		if slices.Contains(cert.Subject.Organization, known.organization) {
			caller.Role = known.role

			break
		}
	}

	return caller
}

// passedOn is the original caller of a call that a node passed on. A node can
// lend a person's rights only, never another node's.
func passedOn(ctx context.Context, caller Caller) Caller {
	if caller.Role != RoleNode {
		return caller
	}

	role := Role(first(ctx, metadataRole))
	if role != RoleAdmin && role != RoleReader {
		return caller
	}

	return Caller{Name: first(ctx, metadataCaller), Role: role, Via: caller.Name}
}

func first(ctx context.Context, key string) string {
	values := metadata.ValueFromIncomingContext(ctx, key)
	if len(values) == 0 {
		return ""
	}

	return strings.TrimSpace(values[0])
}

type callerKey struct{}

// CallerFrom returns who makes the call that ctx belongs to.
func CallerFrom(ctx context.Context) Caller {
	caller, _ := ctx.Value(callerKey{}).(Caller)

	return caller
}
