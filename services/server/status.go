package server

import (
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
	"antler/services/containers"
	"antler/services/node/config"
)

// status puts what a node knows into one screen.
func (s snapshot) status() *antlerv1.ClusterStatus {
	out := &antlerv1.ClusterStatus{
		Name:       s.cluster.Name,
		Id:         s.cluster.ID,
		AnsweredBy: s.self,
		Time:       timestamppb.New(s.now),
		Serving:    s.servingStatus(),
		Authority:  s.authorityStatus(),
		Space:      s.space(),
		Problems:   s.problems(),
	}

	for _, member := range s.cluster.Nodes {
		out.Nodes = append(out.Nodes, s.nodeStatus(member))
	}

	out.Health = healthOf(out)

	return out
}

func healthOf(c *antlerv1.ClusterStatus) antlerv1.Health {
	switch {
	case c.Serving.Node == "":
		return antlerv1.Health_HEALTH_DOWN
	case len(c.Problems) > 0:
		return antlerv1.Health_HEALTH_DEGRADED
	default:
		return antlerv1.Health_HEALTH_OK
	}
}

func (s snapshot) servingStatus() *antlerv1.Serving {
	node := s.serving()
	report := s.reports[s.authority.Holder].Report
	master := report.Master

	out := &antlerv1.Serving{
		Node:          node,
		Epoch:         s.authority.Epoch,
		Phase:         master.Phase,
		MetaVersion:   master.MetaVersion,
		MasterVersion: master.Version,
		Restarts:      uint32(master.Restarts),
	}

	if node == "" {
		return out
	}

	out.Addresses = report.Addresses
	if node == s.self && !s.since.IsZero() {
		out.Since = timestamppb.New(s.since)
	}

	return out
}

func (s snapshot) authorityStatus() *antlerv1.Authority {
	out := &antlerv1.Authority{
		Formed:   s.authority.Formatted,
		Quorum:   s.authority.HaveQuorum,
		Leader:   s.authority.Leader,
		Epoch:    s.authority.Epoch,
		Holder:   s.authority.Holder,
		UpToDate: s.authority.UpToDate,
	}

	for _, voter := range s.cluster.Voters() {
		out.Voters++

		if s.reports[voter.Name].Alive {
			out.VotersAlive++
		}
	}

	return out
}

func (s snapshot) nodeStatus(member config.Member) *antlerv1.NodeStatus {
	report := s.reports[member.Name]

	out := &antlerv1.NodeStatus{
		Name:         member.Name,
		Address:      member.Address.String(),
		Alive:        report.Alive,
		Leader:       s.authority.HaveQuorum && s.authority.Leader == member.Name,
		Serving:      s.serving() == member.Name,
		ServicesDown: servicesDown(report.Report),
		Version:      report.Report.Version,
	}

	if !report.Alive {
		out.LastHeard = stamp(report.LastSeen)
	}

	for _, role := range member.Roles {
		out.Roles = append(out.Roles, string(role))
	}

	if member.Name == s.self {
		out.Error = s.authority.Error
	}

	if member.Has(config.RoleMetadata) {
		r := report.Report.Replica
		out.Replica = &antlerv1.Replica{
			Phase: r.Phase, Role: r.Role, Disk: r.Disk, Connection: r.Connection,
			SyncPercent: r.SyncPercent, Suspended: r.Suspended, Error: r.Error, Comparison: r.Comparison,
			UpToDate: slices.Contains(s.authority.UpToDate, member.Name),
		}
	}

	return out
}

func (s snapshot) space() *antlerv1.Space {
	master := s.reports[s.serving()].Report.Master

	return &antlerv1.Space{
		TotalBytes:           master.TotalSpace,
		FreeBytes:            master.FreeSpace,
		Chunks:               master.Chunks,
		Chunkservers:         uint32(master.Chunkservers),
		ChunkserversExpected: uint32(len(s.cluster.With(config.RoleChunkserver))),
	}
}

func servicesDown(report authority.Report) []string {
	var down []string

	for name, state := range report.Services {
		if state != containers.StateRunning && state != containers.StateStandby {
			down = append(down, name)
		}
	}

	slices.Sort(down)

	return down
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}

	return timestamppb.New(t)
}
