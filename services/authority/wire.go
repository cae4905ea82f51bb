package authority

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	antlerv1 "antler/api/antler/v1"
)

// recordToWire and recordFromWire translate between the record and the API.

func recordToWire(s State) *antlerv1.Record {
	out := &antlerv1.Record{
		Phase: string(s.Phase), ConsentId: s.ConsentID, ClusterId: s.ClusterID, Replicas: s.Replicas,
		Epoch: s.Epoch, Holder: s.Holder, LastHolder: s.LastHolder, Target: s.Target,
		Hold: durationpb.New(s.HoldFor()), HoldSeq: s.HoldSeq,
		UpToDate: s.UpToDate, Observed: s.Observed, MetaVersion: s.MetaVersion, MetadataId: s.MetadataID,
		GiveUps: map[string]*antlerv1.GiveUp{}, Guards: map[string]*antlerv1.Guard{}, Discard: s.Discard,
	}

	for n, g := range s.Guards {
		out.Guards[n] = guardToWire(g)
	}

	for n, g := range s.GiveUps {
		out.GiveUps[n] = &antlerv1.GiveUp{Epoch: g.Epoch, Failed: g.Failed, Reason: g.Reason, Streak: int32(min(g.Streak, 1<<30))}
	}

	for _, a := range s.Audit {
		out.Audit = append(out.Audit, &antlerv1.Audit{Kind: string(a.Kind), Node: a.Node, Epoch: a.Epoch, Who: a.Who, Why: a.Why, At: a.At})
	}

	return out
}

func recordFromWire(r *antlerv1.Record) State {
	s := State{
		Phase: Phase(r.GetPhase()), ConsentID: r.GetConsentId(), ClusterID: r.GetClusterId(), Replicas: r.GetReplicas(),
		Epoch: r.GetEpoch(), Holder: r.GetHolder(), LastHolder: r.GetLastHolder(), Target: r.GetTarget(),
		HoldMS: r.GetHold().AsDuration().Milliseconds(), HoldSeq: r.GetHoldSeq(),
		UpToDate: r.GetUpToDate(), Observed: r.GetObserved(), MetaVersion: r.GetMetaVersion(), MetadataID: r.GetMetadataId(),
		Discard: r.GetDiscard(),
	}

	for n, g := range r.GetGiveUps() {
		s.GiveUps = with(s.GiveUps, n, GiveUp{Epoch: g.GetEpoch(), Failed: g.GetFailed(), Reason: g.GetReason(), Streak: int(g.GetStreak())})
	}

	for n, g := range r.GetGuards() {
		s.Guards = with(s.Guards, n, guardFromWire(g))
	}

	for _, a := range r.GetAudit() {
		s.Audit = append(s.Audit, Audit{Kind: Kind(a.GetKind()), Node: a.GetNode(), Epoch: a.GetEpoch(), Who: a.GetWho(), Why: a.GetWhy(), At: a.GetAt()})
	}

	return s
}

func guardToWire(g Guard) *antlerv1.Guard {
	return &antlerv1.Guard{Boot: g.Boot, Ttl: durationpb.New(g.TTL()), Dead: g.Dead}
}

func guardFromWire(g *antlerv1.Guard) Guard {
	return Guard{Boot: g.GetBoot(), TTLMS: g.GetTtl().AsDuration().Milliseconds(), Dead: g.GetDead()}
}

func reportToWire(r Report) *antlerv1.NodeReport {
	return &antlerv1.NodeReport{
		Version:   r.Version,
		Services:  r.Services,
		Leaving:   r.Leaving,
		Addresses: r.Addresses, AddressError: r.AddressError,
		Guard: guardToWire(r.Guard), Unheard: r.Unheard, ClockAhead: durationpb.New(r.ClockAhead),
		Replica: &antlerv1.ReplicaReport{
			Phase: r.Replica.Phase, Role: r.Replica.Role, Disk: r.Replica.Disk, Connection: r.Replica.Connection,
			PeerDisk: r.Replica.PeerDisk, Suspended: r.Replica.Suspended, SyncPercent: r.Replica.SyncPercent, Error: r.Replica.Error,
			SplitBrain: r.Replica.SplitBrain, Comparison: r.Replica.Comparison,
		},
		Master: &antlerv1.MasterReport{
			Phase: r.Master.Phase, Epoch: r.Master.Epoch, Answering: r.Master.Answering,
			MetaVersion: r.Master.MetaVersion, MetadataId: r.Master.MetadataID, Version: r.Master.Version,
			ReplicaFree: r.Master.ReplicaFree, TotalSpace: r.Master.TotalSpace, FreeSpace: r.Master.FreeSpace, Chunks: r.Master.Chunks,
			Chunkservers: int32(r.Master.Chunkservers), Restarts: int32(r.Master.Restarts), Error: r.Master.Error,
		},
	}
}

func reportFromWire(r *antlerv1.NodeReport) Report {
	replica, master := r.GetReplica(), r.GetMaster()

	return Report{
		Version:   r.GetVersion(),
		Services:  r.GetServices(),
		Leaving:   r.GetLeaving(),
		Addresses: r.GetAddresses(), AddressError: r.GetAddressError(),
		Guard: guardFromWire(r.GetGuard()), Unheard: r.GetUnheard(), ClockAhead: r.GetClockAhead().AsDuration(),
		Replica: ReplicaReport{
			Phase: replica.GetPhase(), Role: replica.GetRole(), Disk: replica.GetDisk(), Connection: replica.GetConnection(),
			PeerDisk: replica.GetPeerDisk(), Suspended: replica.GetSuspended(), SyncPercent: replica.GetSyncPercent(), Error: replica.GetError(),
			SplitBrain: replica.GetSplitBrain(), Comparison: replica.GetComparison(),
		},
		Master: MasterReport{
			Phase: master.GetPhase(), Epoch: master.GetEpoch(), Answering: master.GetAnswering(),
			MetaVersion: master.GetMetaVersion(), MetadataID: master.GetMetadataId(), Version: master.GetVersion(),
			ReplicaFree: master.GetReplicaFree(), TotalSpace: master.GetTotalSpace(), FreeSpace: master.GetFreeSpace(), Chunks: master.GetChunks(),
			Chunkservers: int(master.GetChunkservers()), Restarts: int(master.GetRestarts()), Error: master.GetError(),
		},
	}
}

// viewToWire says how long ago, because clocks of nodes don't agree.
func viewToWire(name string, n NodeView, now time.Time, alive bool) *antlerv1.MemberView {
	out := &antlerv1.MemberView{Name: name, Alive: alive}

	if !n.LastSeen.IsZero() {
		out.Age = durationpb.New(now.Sub(n.LastSeen))
		out.Report = reportToWire(n.Report)
	}

	return out
}

// wallFromWire is zero for an antlerd that tells no time.
func wallFromWire(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}

	return t.AsTime()
}
