package server

import (
	"context"
	"fmt"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"

	"antler/services/address"
	"antler/services/authority"
	"antler/services/authority/report"
	"antler/services/kubernetes"
	"antler/services/metadata"
	"antler/services/moosefs"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/node/version"
	"antler/services/resources"
)

// snapshot is what this node knows at one moment.
type snapshot struct {
	cluster   config.Cluster
	self      string
	now       time.Time
	authority authority.AuthorityStatusSpec
	// reports of all nodes. This node's own is put together from its resources,
	// which are newer than what it last told the leader.
	reports map[string]authority.NodeReportSpec
	address address.AddressStatusSpec
	// storage is what this node's master says; zero where none serves.
	storage moosefs.StatusSpec
	// stores and modules are this node's own.
	stores  map[string]moosefs.ChunkStoreStatusSpec
	modules map[string]node.ModuleStatusSpec
	// provisioner is this node's own; nil where none is configured.
	provisioner *kubernetes.ProvisionerStatusSpec
	// k3s is this node's own; nil where none is configured.
	k3s *node.K3sStatusSpec
	// backup is what has come of this node's backups.
	backup metadata.BackupStatusSpec
	// since when this node's master answers in the current epoch; zero when it
	// doesn't or isn't known.
	since time.Time
	// certificateEnds is when this node's certificate does.
	certificateEnds time.Time
}

func (s *Server) snapshot(ctx context.Context) (snapshot, error) {
	out := snapshot{
		cluster:         s.options.Config.Cluster,
		self:            s.options.Config.Node.Name,
		now:             s.options.Now(),
		reports:         map[string]authority.NodeReportSpec{},
		stores:          map[string]moosefs.ChunkStoreStatusSpec{},
		modules:         map[string]node.ModuleStatusSpec{},
		certificateEnds: s.certificateEnds,
	}

	status, err := resources.Spec[*authority.AuthorityStatus](ctx, s.options.State, authority.AuthorityStatusID)
	if err != nil {
		return out, err
	}

	if status != nil {
		out.authority = *status
	}

	reports, err := safe.StateListAll[*authority.NodeReport](ctx, s.options.State)
	if err != nil {
		return out, fmt.Errorf("list the nodes' reports: %w", err)
	}

	for report := range reports.All() {
		out.reports[report.Metadata().ID()] = *report.TypedSpec()
	}

	own, err := s.ownReport(ctx)
	if err != nil {
		return out, err
	}

	// What the authority has filled in only it knows.
	told := out.reports[out.self].Report
	own.Report.ClockAhead, own.Report.Unheard = told.ClockAhead, told.Unheard
	out.reports[out.self] = own

	err = s.ownParts(ctx, &out)
	if err != nil {
		return out, err
	}

	if event, found := s.options.Events.Last("metadata.master-answering", out.authority.Epoch); found {
		out.since = event.Time
	}

	return out, nil
}

// ownParts reads what nodes don't tell each other: only they know it.
func (s *Server) ownParts(ctx context.Context, out *snapshot) error {
	held, err := resources.Spec[*address.AddressStatus](ctx, s.options.State, address.AddressStatusID)
	if err != nil {
		return err
	}

	if held != nil {
		out.address = *held
	}

	storage, err := resources.Spec[*moosefs.Status](ctx, s.options.State, moosefs.StatusID)
	if err != nil {
		return err
	}

	if storage != nil {
		out.storage = *storage
	}

	out.provisioner, err = resources.Spec[*kubernetes.ProvisionerStatus](ctx, s.options.State, kubernetes.ProvisionerStatusID)
	if err != nil {
		return err
	}

	out.k3s, err = resources.Spec[*node.K3sStatus](ctx, s.options.State, node.K3sStatusID)
	if err != nil {
		return err
	}

	backup, err := resources.Spec[*metadata.BackupStatus](ctx, s.options.State, metadata.BackupStatusID)
	if err != nil {
		return err
	}

	if backup != nil {
		out.backup = *backup
	}

	stores, err := safe.StateListAll[*moosefs.ChunkStoreStatus](ctx, s.options.State)
	if err != nil {
		return fmt.Errorf("list the chunk stores: %w", err)
	}

	for store := range stores.All() {
		out.stores[store.Metadata().ID()] = *store.TypedSpec()
	}

	modules, err := safe.StateListAll[*node.ModuleStatus](ctx, s.options.State)
	if err != nil {
		return fmt.Errorf("list the kernel modules: %w", err)
	}

	for module := range modules.All() {
		out.modules[module.Metadata().ID()] = *module.TypedSpec()
	}

	return nil
}

func (s *Server) ownReport(ctx context.Context) (authority.NodeReportSpec, error) {
	own, err := report.Build(ctx, s.options.State, version.Version)
	if err != nil {
		return authority.NodeReportSpec{}, fmt.Errorf("read the node's state: %w", err)
	}

	return authority.NodeReportSpec{Alive: true, LastSeen: s.options.Now(), Report: own}, nil
}

// serves says whether the node is the holder and its master serves in the epoch.
func (s snapshot) serves(node string) bool {
	report := s.reports[node]

	return node != "" && s.authority.Holder == node && report.Alive &&
		report.Report.Master.Phase == string(metadata.PhaseServing) && report.Report.Master.Epoch == s.authority.Epoch
}

// serving is the node that serves, or "".
func (s snapshot) serving() string {
	if s.serves(s.authority.Holder) {
		return s.authority.Holder
	}

	return ""
}
