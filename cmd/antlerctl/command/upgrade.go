package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/image/flash"
)

const upgradeNodeHelp = `Write the system of an image (.img or .img.xz) to the slot of the node's card that
is not in use, check what was written, and restart the node to try it. The new
system stays when the cluster finds the node healthy: quorum, replica, chunkservers.
If it doesn't get there, or doesn't start at all, the node goes back to the system
that it has now by itself.

It is refused unless the cluster is healthy, so that it does not need this node
meanwhile; on the node that serves also until the replicas were compared since they were
connected ("antlerctl upgrade" waits for it). If this command is interrupted after the node was told to restart, the
node goes on alone; "antlerctl node upgrade" again says how it ended, or repeats it.`

const upgradeHelp = `Upgrade every node, one after the other, as "antlerctl node upgrade" does: the one
that serves last. The next one is begun only when the last one has committed its new
system and the cluster is healthy again, so that both replicas are never away at a
time. It stops at the first node that fell back. Nodes that run the image's system
already are left alone, so it may be repeated.`

// Times of an upgrade.
const (
	// upgradeWait is the default of --timeout, for one node.
	upgradeWait = 45 * time.Minute
	// upgradePoll is between two looks at a node that restarts.
	upgradePoll = 3 * time.Second
	// upgradePart is how much is sent at a time.
	upgradePart = 1 << 20
)

func (a *app) nodeUpgrade() *cobra.Command {
	return &cobra.Command{
		Use:     "upgrade IMAGE -n NODE",
		Short:   "Put an image's system on a node, and keep it if the node is healthy with it",
		Long:    upgradeNodeHelp,
		Example: "  antlerctl node upgrade antler-v2-arm64.img.xz -n n3",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			if a.node == "" {
				return usageError{errors.New("say which node: -n NODE; `antlerctl upgrade IMAGE` takes them all, one after the other")}
			}

			err := checkSystem(given[0])
			if err != nil {
				return err
			}

			ctx, cancel := a.deadline(cmd.Context(), upgradeWait)
			defer cancel()

			return a.upgradeNode(ctx, given[0])
		},
	}
}

func (a *app) upgradeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "upgrade IMAGE",
		Short:   "Upgrade every node, one after the other",
		Long:    upgradeHelp,
		Example: "  antlerctl upgrade antler-v2-arm64.img.xz",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			if a.node != "" {
				return usageError{errors.New("this takes every node; for one there is `antlerctl node upgrade IMAGE -n NODE`")}
			}

			// Before any node is bothered.
			err := checkSystem(given[0])
			if err != nil {
				return err
			}

			reply, err := call(cmd.Context(), a, antlerv1.NewClusterServiceClient, antlerv1.ClusterServiceClient.GetStatus, &antlerv1.GetStatusRequest{})
			if err != nil {
				return err
			}

			for _, node := range servingLast(reply.GetCluster()) {
				err = a.upgradeInTurn(cmd.Context(), node, given[0])
				if err != nil {
					return fmt.Errorf("%s: %w", node, err)
				}
			}

			return nil
		},
	}
}

// servingLast are the names of the nodes in the order in which they are upgraded.
func servingLast(cluster *antlerv1.ClusterStatus) []string {
	var others, last []string

	for _, node := range cluster.GetNodes() {
		if node.GetServing() {
			last = append(last, node.GetName())
		} else {
			others = append(others, node.GetName())
		}
	}

	return append(others, last...)
}

// upgradeInTurn waits until the cluster can do without the node.
func (a *app) upgradeInTurn(ctx context.Context, node, path string) error {
	ctx, cancel := a.deadline(ctx, upgradeWait)
	defer cancel()

	one, told := *a, ""
	one.node = node

	for {
		err := one.upgradeNode(ctx, path)
		if status.Code(err) != codes.FailedPrecondition || !hasReason(err, "NOT_HEALTHY") {
			return err
		}

		if why := status.Convert(err).Message(); why != told {
			told = why
			a.note("%s: %s: waiting", node, why)
		}

		err = pause(ctx, upgradePoll)
		if err != nil {
			return err
		}
	}
}

// checkSystem looks at the image before any node is asked.
func checkSystem(path string) error {
	image, err := openSystem(path)
	if err != nil {
		return fmt.Errorf("%w; nothing was done", err)
	}

	return image.Close()
}

func openSystem(path string) (*flash.System, error) {
	image, err := flash.OpenSystem(path)
	if err != nil {
		return nil, fmt.Errorf("%w: name the image to upgrade to, antler-VERSION-arm64.img or .img.xz", err)
	}

	return image, nil
}

// upgraded is how it ended on one node.
type upgraded struct {
	Node    string `json:"node"`
	Version string `json:"version"`
	Slot    string `json:"slot"`
	// Changed is false where the node ran the image's system already.
	Changed bool `json:"changed"`
}

// upgradeNode writes, and waits for what becomes of it.
func (a *app) upgradeNode(ctx context.Context, path string) error {
	image, err := openSystem(path)
	if err != nil {
		return err
	}
	defer func() { _ = image.Close() }()

	before, err := a.system(ctx)
	if status.Code(err) == codes.Unimplemented {
		return fmt.Errorf("%s runs a version that has one slot and can't be upgraded in place: write its card anew with `antlerctl flash`", a.node)
	}

	if err != nil {
		return err
	}

	if before.GetNotUpgradable() != "" {
		return fmt.Errorf("%s: %s", a.node, before.GetNotUpgradable())
	}

	if before.GetRoot() == image.Root && !before.GetTrial() {
		return a.showResult(upgraded{a.node, before.GetVersion(), before.GetSlot(), false},
			fmt.Sprintf("%s: runs this system already, version %s in slot %s", a.node, before.GetVersion(), before.GetSlot()))
	}

	slot, err := a.sendSystem(ctx, image)
	if err != nil {
		return err
	}

	a.note("%s: slot %s is written and read back; it restarts", a.node, slot)

	return a.awaitTrial(ctx, before.GetBootId(), slot)
}

func (a *app) system(ctx context.Context) (*antlerv1.GetSystemResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, callWait)
	defer cancel()

	ctx, conn, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.end()

	return antlerv1.NewNodeServiceClient(conn).GetSystem(ctx, &antlerv1.GetSystemRequest{})
}

// sendSystem streams the system, and returns the slot that it was written to.
func (a *app) sendSystem(ctx context.Context, image *flash.System) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	ctx, conn, err := a.connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.end()

	stream, err := antlerv1.NewNodeServiceClient(conn).Upgrade(ctx)
	if err != nil {
		return "", err
	}

	sent := make(chan error, 1)

	go func() {
		err := sendParts(stream, image)
		if err != nil {
			cancel() // the node must not wait for the rest
		}

		sent <- err
	}()

	report := (&progress{out: a.Err, now: a.Now}).report

	for {
		reply, err := stream.Recv()
		if err != nil {
			return "", firstOf(readError(sent), err)
		}

		if reply.GetDone() {
			return reply.GetSlot(), nil
		}

		report(reply.GetStep(), int64(reply.GetDoneBytes()), int64(reply.GetTotalBytes()))
	}
}

// readError is what kept the image from being sent, if that came first.
func readError(sent <-chan error) error {
	select {
	case err := <-sent:
		return err
	default:
		return nil
	}
}

func firstOf(first, second error) error {
	if first != nil {
		return first
	}

	return second
}

func sendParts(stream antlerv1.NodeService_UpgradeClient, image *flash.System) error {
	err := stream.Send(&antlerv1.UpgradeRequest{Part: &antlerv1.UpgradeRequest_Begin_{Begin: &antlerv1.UpgradeRequest_Begin{
		Arguments: image.Arguments,
		RootSize:  uint64(image.RootSize), KernelSize: uint64(len(image.Kernel)), InitrdSize: uint64(len(image.Initrd)),
		KernelSha256: image.KernelSHA256(), InitrdSha256: image.InitrdSHA256(),
	}}})

	data, buffer := image.Data(), make([]byte, upgradePart)

	for err == nil {
		n, readErr := io.ReadFull(data, buffer)
		if n > 0 {
			// gRPC has the message in its own form when Send returns.
			err = stream.Send(&antlerv1.UpgradeRequest{Part: &antlerv1.UpgradeRequest_Data{Data: buffer[:n]}})
		}

		if errors.Is(readErr, io.EOF) || errors.Is(readErr, io.ErrUnexpectedEOF) {
			return stream.CloseSend()
		}

		if readErr != nil {
			return fmt.Errorf("read the image: %w", readErr)
		}
	}

	if errors.Is(err, io.EOF) {
		return nil // the node has ended the call, and Recv says why
	}

	return err
}

// awaitTrial waits until the node has started again and made up its mind.
func (a *app) awaitTrial(ctx context.Context, bootID, slot string) error {
	told := ""

	for {
		err := pause(ctx, upgradePoll)
		if err != nil {
			return fmt.Errorf("%s has not said how its upgrade ended: %w: look at `antlerctl status`", a.node, err)
		}

		now, err := a.system(ctx)
		if err != nil || now.GetBootId() == bootID {
			continue // it is going down, or not back yet
		}

		if now.GetTrial() {
			if now.GetMissing() != told {
				told = now.GetMissing()
				a.note("%s: slot %s runs on trial: %s", a.node, now.GetSlot(), orElse(told, "healthy, and is to stay so for a moment"))
			}

			continue
		}

		if now.GetSlot() != slot {
			return fmt.Errorf("%s is back in slot %s with version %s: %s", a.node, now.GetSlot(), now.GetVersion(), now.GetLastUpgrade())
		}

		return a.showResult(upgraded{a.node, now.GetVersion(), slot, true},
			fmt.Sprintf("%s: upgraded to version %s, in slot %s", a.node, now.GetVersion(), slot))
	}
}

// hasReason reports whether a node gave this reason for its error.
func hasReason(err error, reason string) bool {
	return slices.ContainsFunc(status.Convert(err).Details(), func(detail any) bool {
		info, ok := detail.(*errdetails.ErrorInfo)

		return ok && info.GetReason() == reason
	})
}

func orElse(text, instead string) string {
	if text == "" {
		return instead
	}

	return text
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
