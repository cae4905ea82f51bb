// Package report tells the authority about this node: it turns the status
// resources of the replica, the master and the supervised processes into the
// report that goes to the leader with each renewal. It stands apart from
// package authority because those who write these resources depend on that.
package report

import (
	"context"
	"fmt"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/address"
	"antler/services/authority"
	"antler/services/containers"
	"antler/services/metadata"
	"antler/services/replication"
	"antler/services/resources"
)

// Teller takes this node's report.
type Teller interface {
	Report(r authority.Report)
}

// Controller reports what ReplicaStatus, MasterStatus, ContainerStatus and
// AddressStatus say.
type Controller struct {
	Authority Teller
	// Version of antlerd.
	Version string
}

// Name implements controller.Controller.
func (c *Controller) Name() string { return "authority.ReportController" }

// Inputs implements controller.Controller.
func (c *Controller) Inputs() []controller.Input {
	return []controller.Input{
		safe.Input[*replication.ReplicaStatus](controller.InputWeak),
		safe.Input[*metadata.MasterStatus](controller.InputWeak),
		safe.Input[*containers.ContainerStatus](controller.InputWeak),
		safe.Input[*address.AddressStatus](controller.InputWeak),
	}
}

// Outputs implements controller.Controller.
func (c *Controller) Outputs() []controller.Output { return nil }

// Run implements controller.Controller.
func (c *Controller) Run(ctx context.Context, r controller.Runtime, _ *zap.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		}

		report, err := Build(ctx, r, c.Version)
		if err != nil {
			return err
		}

		c.Authority.Report(report)
		r.ResetRestartBackoff()
	}
}

// Build the report of this node from its resources.
func Build(ctx context.Context, r controller.Reader, version string) (authority.Report, error) {
	report := authority.Report{Version: version, Services: map[string]string{}}

	replica, err := resources.Spec[*replication.ReplicaStatus](ctx, r, replication.ReplicaStatusID)
	if err != nil {
		return report, err
	}

	if replica != nil {
		report.Replica = ofReplica(*replica)
	}

	master, err := resources.Spec[*metadata.MasterStatus](ctx, r, metadata.MasterStatusID)
	if err != nil {
		return report, err
	}

	if master != nil {
		report.Master = ofMaster(*master)
	}

	processes, err := safe.ReaderListAll[*containers.ContainerStatus](ctx, r)
	if err != nil {
		return report, fmt.Errorf("list the processes: %w", err)
	}

	for p := range processes.All() {
		report.Services[p.Metadata().ID()] = p.TypedSpec().State()
	}

	floating, err := resources.Spec[*address.AddressStatus](ctx, r, address.AddressStatusID)
	if err != nil {
		return report, err
	}

	if floating != nil {
		report.Addresses, report.AddressError = floating.Held, floating.Error
	}

	return report, nil
}

func ofReplica(s replication.ReplicaStatusSpec) authority.ReplicaReport {
	return authority.ReplicaReport{
		Phase: string(s.Phase), Role: string(s.Role), Disk: s.Disk, Connection: s.Connection, PeerDisk: s.PeerDisk,
		Suspended: s.Suspended, SyncPercent: s.SyncPercent, Error: s.Error,
		SplitBrain: s.SplitBrain, Comparison: string(s.Comparison),
	}
}

func ofMaster(s metadata.MasterStatusSpec) authority.MasterReport {
	return authority.MasterReport{
		Phase: string(s.Phase), Epoch: s.Epoch, Answering: s.Answering, MetaVersion: s.MetaVersion, MetadataID: s.MetadataID,
		Version: s.Version, ReplicaFree: s.ReplicaFree, TotalSpace: s.TotalSpace, FreeSpace: s.FreeSpace, Chunks: s.Chunks,
		Chunkservers: s.Chunkservers, Restarts: s.Restarts, Error: s.Error,
	}
}
