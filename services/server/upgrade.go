package server

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"

	antlerv1 "antler/api/antler/v1"
	"antler/image/slots"
	"antler/services/node"
	"antler/services/node/upgrade"
	"antler/services/node/version"
	"antler/services/resources"
)

// Systems is what is asked of the node's own system.
type Systems interface {
	// Look returns what runs, and what the next start takes.
	Look() (upgrade.Info, error)
	// Upgrade writes the other slot, to be tried at the next start.
	Upgrade(ctx context.Context, system upgrade.System, data io.Reader, progress upgrade.Progress) (slot string, err error)
	// Restart the machine in order.
	Restart() error
}

// GetSystem implements antlerv1.NodeServiceServer.
func (n *nodeService) GetSystem(ctx context.Context, request *antlerv1.GetSystemRequest) (*antlerv1.GetSystemResponse, error) {
	if n.server.options.Systems == nil {
		return n.UnimplementedNodeServiceServer.GetSystem(ctx, request)
	}

	info, err := n.server.options.Systems.Look()
	if err != nil {
		return nil, explained(err, "look at the node's system")
	}

	return &antlerv1.GetSystemResponse{
		Node: n.server.options.Config.Node.Name, Version: version.Version, BootId: info.BootID,
		Slot: info.Started.Slot, DefaultSlot: info.State.Slot, Trial: info.Started.Trial && info.State.Slot != info.Started.Slot,
		Missing: info.Missing, LastUpgrade: info.Last, NotUpgradable: info.NotUpgradable, Root: info.Root,
	}, nil
}

// Upgrade implements antlerv1.NodeServiceServer.
func (n *nodeService) Upgrade(stream antlerv1.NodeService_UpgradeServer) error {
	if n.server.options.Systems == nil {
		return n.UnimplementedNodeServiceServer.Upgrade(stream)
	}

	first, err := stream.Recv()
	if err != nil {
		return err
	}

	begin := first.GetBegin()
	if begin == nil {
		return badField("begin", "the first request says what comes")
	}

	err = n.mayRestart(stream.Context())
	if err != nil {
		return err
	}

	err = n.keepsK3s(stream.Context(), begin.GetArguments())
	if err != nil {
		return err
	}

	slot, err := n.server.options.Systems.Upgrade(stream.Context(), systemOf(begin), &received{stream: stream}, n.progress(stream))
	if errors.Is(err, upgrade.ErrRefused) {
		return problem(codes.FailedPrecondition, "UPGRADE_REFUSED", err.Error(), "")
	}

	if err != nil {
		return explained(err, "upgrade "+n.server.options.Config.Node.Name)
	}

	n.server.options.Events.Emit("node.upgrade", 0, fmt.Sprintf("slot %s holds a new system; this machine restarts to try it", slot))

	err = stream.Send(&antlerv1.UpgradeResponse{Done: true, Slot: slot})
	if err != nil {
		// Nobody waits for it any more: they can have it restarted later.
		return err
	}

	return explained(n.server.options.Systems.Restart(), "upgrade "+n.server.options.Config.Node.Name)
}

// mayRestart refuses while the cluster needs this node, or could not find it
// healthy afterwards.
func (n *nodeService) mayRestart(ctx context.Context) error {
	status, err := (&clusterService{server: n.server}).GetStatus(ctx, &antlerv1.GetStatusRequest{})
	if err != nil {
		return err
	}

	why := upgrade.MayRestart(status.GetCluster(), n.server.options.Config.Node.Name)
	if why == "" {
		return nil
	}

	if why == upgrade.Different {
		return problem(codes.FailedPrecondition, "REPLICAS_DIFFER", "this node may not restart now: "+why, "docs/recovery.md says how to find out")
	}

	return problem(codes.FailedPrecondition, "NOT_HEALTHY", "this node may not restart now: "+why, "wait, or mend it; `antlerctl status` shows more")
}

// keepsK3s refuses a system without k3s in the place of one that runs it: every pod of
// the node would be gone, and the new system be found healthy.
func (n *nodeService) keepsK3s(ctx context.Context, arguments string) error {
	k3s, err := resources.Spec[*node.K3sStatus](ctx, n.server.options.State, node.K3sStatusID)
	if err != nil {
		return explained(err, "look at the node's k3s")
	}

	if k3s == nil || k3s.Error != "" || slots.HasK3s(arguments) {
		return nil
	}

	return problem(codes.FailedPrecondition, "UPGRADE_REFUSED", "the new system does not say that it holds k3s, and this node runs it: nothing was changed",
		"build the image with K3S=, or take node.k3s out of this node's antler.yaml and start it again first")
}

func systemOf(begin *antlerv1.UpgradeRequest_Begin) upgrade.System {
	return upgrade.System{
		Arguments: begin.GetArguments(),
		RootSize:  int64(begin.GetRootSize()), KernelSize: int64(begin.GetKernelSize()), InitrdSize: int64(begin.GetInitrdSize()),
		KernelSHA256: begin.GetKernelSha256(), InitrdSHA256: begin.GetInitrdSha256(),
	}
}

// reportEvery is how many bytes lie between two answers.
const reportEvery = 4 << 20

func (n *nodeService) progress(stream antlerv1.NodeService_UpgradeServer) upgrade.Progress {
	var (
		step string
		last int64
	)

	return func(now string, done, total int64) {
		if now == step && done-last < reportEvery && done != total {
			return
		}

		step, last = now, done

		// If it can't be told, the next read fails.
		_ = stream.Send(&antlerv1.UpgradeResponse{Step: now, DoneBytes: uint64(done), TotalBytes: uint64(total)})
	}
}

// received is the data of the requests in one piece.
type received struct {
	stream antlerv1.NodeService_UpgradeServer
	rest   []byte
}

// Read implements io.Reader.
func (r *received) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		request, err := r.stream.Recv()
		if err != nil {
			return 0, err
		}

		r.rest = request.GetData()
	}

	n := copy(p, r.rest)
	r.rest = r.rest[n:]

	return n, nil
}
