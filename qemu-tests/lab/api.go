package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/services/node/config"
)

// Dial connects to the API of the machine, over the network that is never cut.
func (c *Cluster) Dial(m *Machine) (*grpc.ClientConn, error) {
	return Dial(c.Admin, m.Name)
}

// Dial connects to the API of the node with the client configuration.
func Dial(client *config.Client, node string) (*grpc.ClientConn, error) {
	pair, pool, err := client.TLSCertificate()
	if err != nil {
		return nil, err
	}

	i := slices.IndexFunc(client.Endpoints, func(e config.Endpoint) bool { return e.Node == node })
	if i < 0 {
		return nil, fmt.Errorf("no endpoint for %s", node)
	}

	return grpc.NewClient(client.Endpoints[i].Address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: node,
	})))
}

// answerWithin is how long one node may take to answer before the next is
// asked; a TLS handshake alone takes 100 ms under emulation.
const answerWithin = 5 * time.Second

// Status asks the machines that are on, in order, until one answers that hears
// from the quorum; one that does not will do if there is no other.
func (c *Cluster) Status(ctx context.Context) (*antlerv1.ClusterStatus, error) {
	errs := []error{errors.New("no node answers")}

	var stale *antlerv1.ClusterStatus

	for _, m := range c.Machines {
		if !m.On() {
			continue
		}

		status, err := c.statusOf(ctx, m)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.Name, err))

			continue
		}

		if status.GetAuthority().GetLeader() != "" {
			return status, nil
		}

		stale = status
	}

	if stale != nil {
		return stale, nil
	}

	return nil, errors.Join(errs...)
}

func (c *Cluster) statusOf(ctx context.Context, m *Machine) (*antlerv1.ClusterStatus, error) {
	conn, err := c.Dial(m)
	if err != nil {
		return nil, err
	}
	defer conn.Close()

	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()

	response, err := antlerv1.NewClusterServiceClient(conn).GetStatus(ctx, &antlerv1.GetStatusRequest{})

	return response.GetCluster(), err
}

// Switchover asks for a planned move to target and waits for its end.
func (c *Cluster) Switchover(ctx context.Context, via *Machine, target string) error {
	return c.switchover(ctx, via, &antlerv1.SwitchoverRequest{Target: target})
}

// SwitchoverNow doesn't wait until the replicas are compared.
func (c *Cluster) SwitchoverNow(ctx context.Context, via *Machine, target string) error {
	return c.switchover(ctx, via, &antlerv1.SwitchoverRequest{Target: target, Now: true})
}

func (c *Cluster) switchover(ctx context.Context, via *Machine, request *antlerv1.SwitchoverRequest) error {
	conn, err := c.Dial(via)
	if err != nil {
		return err
	}
	defer conn.Close()

	stream, err := antlerv1.NewClusterServiceClient(conn).Switchover(ctx, request)
	if err != nil {
		return err
	}

	for {
		response, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("switch over to %s: %w", request.GetTarget(), err)
		}

		if response.GetProgress().GetDone() {
			return nil
		}
	}
}

// CreateVolume creates a volume and returns where the machines see its data.
func (c *Cluster) CreateVolume(ctx context.Context, via *Machine, name string, size uint64) (string, error) {
	conn, err := c.Dial(via)
	if err != nil {
		return "", err
	}
	defer conn.Close()

	client := antlerv1.NewVolumeServiceClient(conn)

	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()

	for {
		response, err := client.Create(ctx, &antlerv1.VolumeServiceCreateRequest{Name: name, SizeBytes: size})
		if err == nil {
			return MountPath + response.GetVolume().GetPath(), nil
		}

		// A node that has just begun to serve mounts MooseFS for itself first.
		if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			return "", fmt.Errorf("create volume %s: %w", name, err)
		}

		<-ticker.C
	}
}
