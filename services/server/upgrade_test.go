package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/image/slots"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/node/upgrade"
	"antler/services/replication"
)

// fakeSystems keeps what it was given.
type fakeSystems struct {
	refuse    error
	got       map[string]string // node to the sum of its data
	node      string
	restarted *[]string
}

// Look implements Systems.
func (f fakeSystems) Look() (upgrade.Info, error) {
	return upgrade.Info{
		Started: slots.Started{Slot: "b", Loader: true, Trial: true}, State: slots.State{Slot: "a"},
		BootID: "boot of " + f.node, Missing: "the replica", Root: "antler.root=1:ab",
	}, nil
}

// Upgrade implements Systems.
func (f fakeSystems) Upgrade(_ context.Context, system upgrade.System, data io.Reader, progress upgrade.Progress) (string, error) {
	if f.refuse != nil {
		return "", f.refuse
	}

	all, err := io.ReadAll(io.LimitReader(data, system.RootSize))
	progress(upgrade.Writing, int64(len(all)), system.RootSize)
	f.got[f.node] = fmt.Sprintf("%x", sha256.Sum256(all))

	return "b", err
}

// Restart implements Systems.
func (f fakeSystems) Restart() error {
	*f.restarted = append(*f.restarted, f.node)

	return nil
}

func newUpgradable(t *testing.T, refuse error) (c *testCluster, got map[string]string, restarted *[]string) {
	t.Helper()

	got, restarted = map[string]string{}, &[]string{}
	c = newClusterWith(t, func(o *Options) {
		o.Systems = fakeSystems{node: o.Config.Node.Name, refuse: refuse, got: got, restarted: restarted}
	})

	return c, got, restarted
}

// send upgrades with three MiB, and returns the answers.
func send(ctx context.Context, conn *grpc.ClientConn) (answers []*antlerv1.UpgradeResponse, sum string, err error) {
	return sendWith(ctx, conn, "")
}

// sendWith sends a system whose kernel has these arguments.
func sendWith(ctx context.Context, conn *grpc.ClientConn, arguments string) (answers []*antlerv1.UpgradeResponse, sum string, err error) {
	stream, err := antlerv1.NewNodeServiceClient(conn).Upgrade(ctx)
	if err != nil {
		return nil, "", err
	}

	hash := sha256.New()

	_ = stream.Send(&antlerv1.UpgradeRequest{Part: &antlerv1.UpgradeRequest_Begin_{Begin: &antlerv1.UpgradeRequest_Begin{Arguments: arguments, RootSize: 3 << 20}}})

	for i := range 3 {
		data := make([]byte, 1<<20)
		data[0] = byte(i)
		hash.Write(data)

		_ = stream.Send(&antlerv1.UpgradeRequest{Part: &antlerv1.UpgradeRequest_Data{Data: data}})
	}

	_ = stream.CloseSend()

	for {
		answer, err := stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}

			return answers, fmt.Sprintf("%x", hash.Sum(nil)), err
		}

		answers = append(answers, answer)
	}
}

func TestUpgradeReachesTheNode(t *testing.T) {
	c, got, restarted := newUpgradable(t, nil)
	c.serve("n1", 5)

	answers, sum, err := send(t.Context(), c.dial("n3", c.files.Admin))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"n3": sum}, got)
	require.True(t, answers[len(answers)-1].GetDone())
	require.Equal(t, "b", answers[len(answers)-1].GetSlot())
	require.Equal(t, upgrade.Writing, answers[0].GetStep())

	// Passed on to another node, both ways.
	ctx := metadata.AppendToOutgoingContext(t.Context(), config.NodeMetadata, "n2")
	answers, sum, err = send(ctx, c.dial("n1", c.files.Admin))
	require.NoError(t, err)
	require.Equal(t, sum, got["n2"])
	require.True(t, answers[len(answers)-1].GetDone())
	require.Equal(t, []string{"n3", "n2"}, *restarted)
}

func TestUpgradeIsRefused(t *testing.T) {
	c, got, restarted := newUpgradable(t, nil)

	_, _, err := send(t.Context(), c.dial("n2", c.files.Admin))
	require.Equal(t, codes.FailedPrecondition, status.Code(err), "nobody serves")
	require.Equal(t, "NOT_HEALTHY", reasonOf(t, err))

	_, _, err = send(t.Context(), c.dial("n2", c.files.Reader))
	require.Equal(t, codes.PermissionDenied, status.Code(err))

	// Waiting doesn't help, so antlerctl doesn't.
	c.serve("n1", 5)
	c.comparisonIs(replication.ComparisonDifferent)

	_, _, err = send(t.Context(), c.dial("n2", c.files.Admin))
	require.Equal(t, "REPLICAS_DIFFER", reasonOf(t, err))

	c, _, _ = newUpgradable(t, fmt.Errorf("no slots: %w", upgrade.ErrRefused))
	c.serve("n1", 5)

	_, _, err = send(t.Context(), c.dial("n2", c.files.Admin))
	require.Equal(t, "UPGRADE_REFUSED", reasonOf(t, err))
	require.Empty(t, got)
	require.Empty(t, *restarted)
}

// A node that runs k3s keeps it, whoever forgot to put it into the image.
func TestUpgradeKeepsK3s(t *testing.T) {
	c, got, restarted := newUpgradable(t, nil)
	c.serve("n1", 5)

	k3s := node.NewK3sStatus(&config.Config{}, t.TempDir())
	k3s.TypedSpec().Role, k3s.TypedSpec().Version = config.K3sServer, "v1.33.1+k3s1"
	c.put(c.node("n2"), k3s)

	_, _, err := send(t.Context(), c.dial("n2", c.files.Admin))
	require.Equal(t, "UPGRADE_REFUSED", reasonOf(t, err))
	require.ErrorContains(t, err, "does not say that it holds k3s")
	require.Empty(t, got)
	require.Empty(t, *restarted)

	_, sum, err := sendWith(t.Context(), c.dial("n2", c.files.Admin), "antler.root=1:ab antler.k3s=v1.34.0+k3s1")
	require.NoError(t, err)
	require.Equal(t, sum, got["n2"])

	// One that asked for k3s and never had it loses nothing.
	without := node.NewK3sStatus(&config.Config{}, t.TempDir())
	without.TypedSpec().Role, without.TypedSpec().Error = config.K3sServer, "this image was built without k3s"
	c.put(c.node("n3"), without)

	_, sum, err = send(t.Context(), c.dial("n3", c.files.Admin))
	require.NoError(t, err)
	require.Equal(t, sum, got["n3"])
}

func TestGetSystem(t *testing.T) {
	c, _, _ := newUpgradable(t, nil)

	system, err := antlerv1.NewNodeServiceClient(c.dial("n2", c.files.Reader)).GetSystem(t.Context(), &antlerv1.GetSystemRequest{})
	require.NoError(t, err)
	require.Equal(t, "n2", system.GetNode())
	require.Equal(t, "b", system.GetSlot())
	require.Equal(t, "a", system.GetDefaultSlot())
	require.True(t, system.GetTrial())
	require.Equal(t, "the replica", system.GetMissing())
	require.Equal(t, "boot of n2", system.GetBootId())
}
