package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/state"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
	"antler/services/metadata"
	"antler/services/node/config"
	"antler/services/resources"
)

// switchoverTarget is the node asked for, or the other metadata node.
func (s snapshot) switchoverTarget(asked string) (string, error) {
	if s.authority.Holder == "" {
		return "", problem(codes.FailedPrecondition, "NOBODY_SERVES", "switch over: nobody serves, so there is nothing to switch over",
			"wait for a takeover; `antlerctl status` says what it waits for")
	}

	target := asked
	if target == "" {
		for _, member := range s.cluster.With(config.RoleMetadata) {
			if member.Name != s.authority.Holder {
				target = member.Name
			}
		}
	}

	if target == "" {
		return "", problem(codes.FailedPrecondition, "NO_TARGET", "switch over: the cluster has one metadata node only", "add a second one")
	}

	err := s.checkTarget(target)
	if err != nil || s.authority.Holder == target {
		return target, err
	}

	if !s.reports[target].Alive {
		return "", problem(codes.FailedPrecondition, "TARGET_DOWN", fmt.Sprintf("switch over to %s: it was not heard of lately", target),
			"look at its power, its console and its network")
	}

	if !slices.Contains(s.authority.UpToDate, target) {
		return "", problem(codes.FailedPrecondition, "TARGET_NOT_UP_TO_DATE", fmt.Sprintf("switch over to %s: its replica lacks acknowledged writes", target),
			"wait until `antlerctl status` shows it UpToDate")
	}

	return target, nil
}

func (s snapshot) checkTarget(target string) error { return s.checkMetadataNode("target", target) }

// checkMetadataNode is about a field of a request.
func (s snapshot) checkMetadataNode(field, name string) error {
	member, known := s.cluster.Member(name)
	if known && member.Has(config.RoleMetadata) {
		return nil
	}

	var names []string

	for _, m := range s.cluster.With(config.RoleMetadata) {
		names = append(names, m.Name)
	}

	return badField(field, fmt.Sprintf("%q is not a metadata node: name one of %s", name, strings.Join(names, ", ")))
}

func (s snapshot) checkFailover(target, reason string, force bool) error {
	if target == "" {
		return badField("target", "is missing: name the node that shall serve")
	}

	err := s.checkTarget(target)
	if err != nil {
		return err
	}

	if !force {
		return problem(codes.FailedPrecondition, "FORCE_NEEDED",
			fmt.Sprintf("fail over to %s: acknowledged writes that only the other replica has would be given up", target),
			fmt.Sprintf("if the other replica is lost for good: antlerctl failover %s --force --reason \"WHY\"; otherwise start that node", target))
	}

	if strings.TrimSpace(reason) == "" {
		return badField("reason", "is missing: it is kept in the cluster's record")
	}

	return nil
}

// move follows a switchover or failover until the target serves.
type move struct {
	server *Server
	target string
	before authority.AuthorityStatusSpec
	began  time.Time
	send   func(*antlerv1.Progress) error
	// wished: the wish was seen on record.
	wished bool
	// forced: by a person's word, so that there is nobody else who could serve.
	forced bool
}

// run asks for the move, and tells its events until the target serves or it is
// clear that it won't.
func (m *move) run(ctx context.Context, doing string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, moveWait)
	defer cancel()

	changes, err := m.server.changes(ctx)
	if err != nil {
		return explained(err, doing)
	}

	events := make(chan Event, EventsKept)

	go func() {
		_ = m.server.watchAll(ctx, Query{Since: m.began, Follow: true}, func(event Event) error {
			select {
			case events <- event:
			case <-ctx.Done():
			}

			return ctx.Err()
		})
	}()

	asked := make(chan error, 1)

	go func() { asked <- ask(ctx) }()

	return m.follow(ctx, doing, changes, events, asked)
}

func (m *move) follow(ctx context.Context, doing string, changes <-chan state.Event, events <-chan Event, asked <-chan error) error {
	accepted := false

	// What is told before could be taken for progress of what has not begun.
	var told <-chan Event

	for {
		select {
		case <-ctx.Done():
			return m.tooLate(ctx, doing)
		case event := <-told:
			err := m.send(&antlerv1.Progress{Event: eventToAPI(event), Elapsed: m.elapsed()})
			if err != nil {
				return err
			}

			continue
		case err := <-asked:
			if err != nil {
				return explained(err, doing)
			}

			accepted, told = true, events
		case <-changes:
		}

		if !accepted {
			continue
		}

		known, err := m.server.snapshot(ctx)
		if err != nil {
			return explained(err, doing)
		}

		over, err := m.outcome(ctx, known, doing)
		if err != nil {
			return err
		}

		if over {
			return m.done(known)
		}
	}
}

// outcome says whether the move is over, and how.
func (m *move) outcome(ctx context.Context, known snapshot, doing string) (bool, error) {
	if known.authority.Epoch <= m.before.Epoch {
		return false, m.dropped(known, doing)
	}

	if known.serves(m.target) {
		return true, nil
	}

	release, failed := known.authority.GiveUps[m.target]
	if failed && release.Failed && release.Epoch > m.before.Epoch {
		hint := "`antlerctl status` shows who serves now"
		if m.forced {
			hint = m.wayOut(ctx)
		}

		return false, problem(codes.Aborted, "TARGET_FAILED", fmt.Sprintf("%s: it could not serve: %s", doing, release.Reason), hint)
	}

	return false, nil
}

// wayOutWait is what the nodes get to say what they have: those that are gone for
// good are among them.
const wayOutWait = 5 * time.Second

// wayOut is the command to go on with when the node that was to serve by a person's
// word can't. It changes nothing by itself.
func (m *move) wayOut(ctx context.Context) string {
	const look = "antlerctl metadata sources"

	ctx, cancel := context.WithTimeout(ctx, wayOutWait)
	defer cancel()

	list, err := (&metadataService{server: m.server}).ListSources(withoutVia(ctx), &antlerv1.ListSourcesRequest{})
	if err != nil {
		return look
	}

	for _, source := range list.GetSources() {
		if source.GetVersion() > 0 && (list.GetServedId() == 0 || source.GetMetadataId() == list.GetServedId()) {
			return fmt.Sprintf("antlerctl metadata restore %s --target %s   # it reaches version %d, of %d that were served; this changes nothing yet, and shows what would be lost",
				source.GetName(), m.target, source.GetVersion(), list.GetServedVersion())
		}
	}

	return look
}

// dropped: the holder did not give up in time, and the quorum took the wish off
// its record.
func (m *move) dropped(known snapshot, doing string) error {
	m.wished = m.wished || known.authority.Target == m.target

	if !m.wished || known.authority.Target == m.target || known.authority.Holder != m.before.Holder {
		return nil
	}

	return problem(codes.Aborted, "NOT_RELEASED", fmt.Sprintf("%s: %s did not stop in time and goes on serving", doing, known.authority.Holder),
		fmt.Sprintf("`antlerctl events` shows why; `antlerctl logs mfsmaster -n %s` too", known.authority.Holder))
}

func (m *move) done(known snapshot) error {
	return m.send(&antlerv1.Progress{Elapsed: m.elapsed(), Done: true, Node: m.target, Epoch: known.authority.Epoch})
}

func (m *move) elapsed() *durationpb.Duration {
	return durationpb.New(m.server.options.Now().Sub(m.began))
}

// tooLate says how far it got.
func (m *move) tooLate(ctx context.Context, doing string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return explained(ctx.Err(), doing)
	}

	// The context is over, and this reads memory only.
	known, err := m.server.snapshot(context.WithoutCancel(ctx))
	if err != nil {
		return explained(err, doing)
	}

	where := "nobody holds the authority"
	if holder := known.authority.Holder; holder != "" {
		where = fmt.Sprintf("%s holds epoch %d, its master is %s", holder, known.authority.Epoch, orNone(known.reports[holder].Report.Master.Phase))
	}

	return problem(codes.DeadlineExceeded, "NOT_YET", fmt.Sprintf("%s: not done in time: %s", doing, where),
		"it may still go on: `antlerctl events -f` shows it")
}

// changes tells that something about who serves has changed.
func (s *Server) changes(ctx context.Context) (<-chan state.Event, error) {
	out := make(chan state.Event, 16)

	for _, t := range []resource.Type{authority.AuthorityStatusType, authority.NodeReportType, metadata.MasterStatusType} {
		kind := resource.NewMetadata(resources.Namespace, t, "", resource.VersionUndefined)

		err := s.options.State.WatchKind(ctx, kind, out)
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", t, err)
		}
	}

	return out, nil
}
