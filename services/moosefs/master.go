package moosefs

import (
	"context"
	"net/netip"

	"antler/services/moosefs/protocol"
)

// Master is asked about the storage. Client is one.
type Master interface {
	Info(ctx context.Context) (protocol.Info, error)
	Chunkservers(ctx context.Context) ([]protocol.Chunkserver, error)
	Sessions(ctx context.Context) ([]protocol.Session, error)
	Metaloggers(ctx context.Context) ([]protocol.Metalogger, error)
	Health(ctx context.Context) (protocol.Health, error)
}

// AskMaster asks the one at addr about itself.
func AskMaster(ctx context.Context, addr netip.AddrPort) error {
	_, err := protocol.Probe(ctx, addr.String())

	return err
}

// Client is the Master that asks over the network.
type Client = protocol.Client
