package authority

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"

	antlerv1 "antler/api/antler/v1"
)

// A voter that has lost its store may have promised what it no longer knows: a
// vote, or an entry that was committed because it had it. So it comes back as a
// new voter, in this order, each step of which can be repeated:
//
//  1. The quorum without it commits that it doesn't vote. That takes a majority
//     of the others, which no majority with the old promises can get around.
//  2. Every other voter writes down that the old store is nobody's any more, and
//     the new one is this node's (AcceptStore). From then on the old store is
//     refused by whichever voter it asks at its start (confirm): its disk may turn
//     up again.
//  3. The quorum commits that it votes. It begins like every voter, with the
//     first configuration and nothing else in its log.

// Replacement is a voter that came back without its memory.
type Replacement struct {
	Node string
	// Old is the store that the cluster remembers, New the one with which the
	// node runs. They are the same where an earlier attempt got past step 2.
	Old, New string
}

// Replacement looks whether the node has lost its store. Its error is a Rejection
// that says why it can't be replaced.
func (a *Authority) Replacement(ctx context.Context, node string) (Replacement, error) {
	return a.askReplace(ctx, &antlerv1.ReplaceStoreRequest{Node: node})
}

// ReplaceStore gives the node its vote back with its new store. forget names the
// old one, which is given up for good; who and why are recorded.
func (a *Authority) ReplaceStore(ctx context.Context, node, forget, who, why string) error {
	if forget == "" {
		return reject(ErrCannotReplace, "replace %s: name the store to forget", node)
	}

	_, err := a.askReplace(ctx, &antlerv1.ReplaceStoreRequest{Node: node, Forget: forget, Who: who, Why: why})

	return err
}

// replaceWait is what the leader gets for all steps.
const replaceWait = 20 * time.Second

// leaderPatience is how long a person waits for an election to end.
const leaderPatience = 5 * time.Second

// askReplace has the leader look, or do it. While the leadership moves, it is
// asked again.
func (a *Authority) askReplace(ctx context.Context, request *antlerv1.ReplaceStoreRequest) (Replacement, error) {
	ctx, cancel := context.WithTimeout(ctx, replaceWait)
	defer cancel()

	patience := a.config.Now().Add(leaderPatience)

	for {
		answer, err := a.replaceOnce(ctx, request)

		switch {
		case err == nil && !answer.GetNotLeader():
			return replacementFrom(request.GetNode(), answer)
		case a.config.Now().Before(patience):
		case err != nil:
			return Replacement{}, fmt.Errorf("have %s replaced: %w: ask again: every step can be repeated", request.GetNode(), err)
		default:
			return Replacement{}, reject(ErrCannotReplace, "replace %s: the quorum has no leader: bring back enough of the other voters first", request.GetNode())
		}

		select {
		case <-ctx.Done():
			return Replacement{}, ctx.Err()
		case <-time.After(proposeAgain):
		}
	}
}

func replacementFrom(node string, answer *antlerv1.ReplaceStoreResponse) (Replacement, error) {
	found := Replacement{Node: node, Old: answer.GetOldStore(), New: answer.GetNewStore()}
	if answer.GetRefused() == "" {
		return found, nil
	}

	return found, &Rejection{Code: ErrCannotReplace, Detail: answer.GetRefused()}
}

// replaceOnce asks the leader, and whom it names instead.
func (a *Authority) replaceOnce(ctx context.Context, request *antlerv1.ReplaceStoreRequest) (*antlerv1.ReplaceStoreResponse, error) {
	to := a.knownLeader()

	for range len(a.config.Members) {
		if to == "" {
			break
		}

		answer, err := a.callReplace(ctx, to, request)
		if err != nil || !answer.GetNotLeader() || answer.GetLeader() == to {
			return answer, err
		}

		to = answer.GetLeader()
	}

	return &antlerv1.ReplaceStoreResponse{NotLeader: true}, nil
}

func (a *Authority) callReplace(ctx context.Context, to string, request *antlerv1.ReplaceStoreRequest) (*antlerv1.ReplaceStoreResponse, error) {
	if to == a.config.Self {
		return a.answerReplace(ctx, request)
	}

	leader, err := a.peers.call(to)
	if err != nil {
		return nil, err
	}

	answer, err := leader.ReplaceStore(ctx, request)
	if err != nil {
		a.forgetLeader(to)

		return nil, fmt.Errorf("ask the leader %s: %w", to, err)
	}

	return answer, nil
}

// answerReplace looks, and goes through the steps if the request names the store
// to forget.
func (a *Authority) answerReplace(ctx context.Context, request *antlerv1.ReplaceStoreRequest) (*antlerv1.ReplaceStoreResponse, error) {
	l, leader := a.leadership()
	if l == nil {
		return &antlerv1.ReplaceStoreResponse{NotLeader: true, Leader: leader}, nil
	}

	found, err := a.replaceable(ctx, l, request.GetNode())
	if err == nil && request.GetForget() != "" {
		err = a.replace(ctx, l, found, request)
	}

	answer := &antlerv1.ReplaceStoreResponse{OldStore: found.Old, NewStore: found.New}

	if rejection := (*Rejection)(nil); errors.As(err, &rejection) {
		answer.Refused = rejection.Detail

		return answer, nil
	}

	return answer, err
}

// replaceFirst is what comes before a replacement.
const replaceFirst = "to put another machine in its place, power this one off for good, and start the other with the same configuration file and blank disks"

// replaceable says which store would be given up for which, or why not.
func (a *Authority) replaceable(ctx context.Context, l *leadership, node string) (Replacement, error) {
	found := Replacement{Node: node, Old: a.rosterEntry(node)}
	voters := a.voters()

	i := slices.IndexFunc(voters, func(m Member) bool { return m.Name == node })
	if i < 0 {
		return found, reject(ErrCannotReplace, "replace %s: it is no voter, so it has no memory of the quorum: just start it", node)
	}

	if node == a.config.Self {
		return found, reject(ErrCannotReplace, "replace %s: it leads the quorum, so it has lost nothing: %s", node, replaceFirst)
	}

	answer, err := a.hello(ctx, voters[i])
	if err != nil {
		return found, reject(ErrCannotReplace, "replace %s: it does not answer (%v): start it with the configuration of the node that it replaces", node, err)
	}

	found.New = answer.GetIncarnation()

	switch {
	case found.New == "":
		return found, reject(ErrCannotReplace, "replace %s: its store cannot be used, and it has no new one: stop antlerd there, move %s away, start antlerd", node, a.config.Dir)
	case found.New == found.Old && l.counts(node):
		return found, reject(ErrCannotReplace, "replace %s: it votes with the store that the cluster knows, so it has lost nothing: %s", node, replaceFirst)
	case answer.GetTakenPart() && found.New != found.Old:
		return found, reject(ErrCannotReplace, "replace %s: its store %s has taken part before and was given up: stop antlerd there, move %s away, start antlerd", node, found.New, a.config.Dir)
	}

	return found, a.othersReady(ctx, l, node)
}

// counts reports whether the node votes in Raft's configuration.
func (l *leadership) counts(node string) bool {
	return slices.ContainsFunc(l.quorum.raft.GetConfiguration().Configuration().Servers, func(s raft.Server) bool {
		return string(s.ID) == node && s.Suffrage == raft.Voter
	})
}

// othersReady says which other voter is missing: each has to write the new store
// down, and while the node is out of the quorum a majority of them must go on.
func (a *Authority) othersReady(ctx context.Context, l *leadership, node string) error {
	if err := l.confirm(ctx, "", 0); err != nil {
		return fmt.Errorf("%w: bring back enough of the other voters", err) // or another one leads now
	}

	for _, m := range a.voters() {
		if m.Name == node || m.Name == a.config.Self {
			continue
		}

		answer, err := a.hello(ctx, m)
		if err == nil && !answer.GetTakenPart() {
			err = errors.New("it doesn't vote")
		}

		if err != nil {
			return reject(ErrCannotReplace, "replace %s: %s must be there, and isn't (%v): every other voter has to forget the old store", node, m.Name, err)
		}
	}

	return nil
}

// replace goes through the steps.
func (a *Authority) replace(ctx context.Context, l *leadership, found Replacement, request *antlerv1.ReplaceStoreRequest) error {
	// Once it is forgotten here, nobody can name another one.
	if request.GetForget() != found.Old && found.Old != found.New {
		return reject(ErrCannotReplace, "replace %s: its old store is %s, not %s: look again before you decide", found.Node, found.Old, request.GetForget())
	}

	signed := l.apply(ctx, Command{
		Kind: KindReplaceStore, Node: found.Node, Who: request.GetWho(), Why: request.GetWhy(), At: a.config.Now().Unix(),
	})
	if signed.err != nil {
		return signed.err
	}

	id := raft.ServerID(found.Node)
	if err := committed(ctx, l.quorum.raft.RemoveServer(id, 0, a.config.Timing.ApplyTimeout)); err != nil {
		return fmt.Errorf("take %s out of the quorum: %w", found.Node, err)
	}

	if err := a.acceptEverywhere(ctx, found); err != nil {
		return err
	}

	address, err := a.parts().ServerAddr(id)
	if err != nil {
		return err
	}

	if err := committed(ctx, l.quorum.raft.AddVoter(id, address, 0, a.config.Timing.ApplyTimeout)); err != nil {
		return fmt.Errorf("take %s into the quorum again: %w", found.Node, err)
	}

	a.config.Logger.Info("a voter has a new store", zap.String("node", found.Node), zap.String("forgotten", found.Old), zap.String("who", request.GetWho()))

	return nil
}

// acceptEverywhere has all other voters know the node by its new store only.
func (a *Authority) acceptEverywhere(ctx context.Context, found Replacement) error {
	for _, m := range a.voters() {
		if m.Name == found.Node {
			continue
		}

		if err := a.acceptAt(ctx, m.Name, found); err != nil {
			return fmt.Errorf("have %s forget the old store of %s: %w", m.Name, found.Node, err)
		}
	}

	return nil
}

func (a *Authority) acceptAt(ctx context.Context, at string, found Replacement) error {
	if at == a.config.Self {
		return a.accept(found.Node, found.New)
	}

	voter, err := a.peers.call(at)
	if err != nil {
		return err
	}

	_, err = voter.AcceptStore(ctx, &antlerv1.AcceptStoreRequest{Node: found.Node, Incarnation: found.New})

	return err
}

// accept notes the only valid store of another voter.
func (a *Authority) accept(node, incarnation string) error {
	if node == a.config.Self || strings.TrimSpace(incarnation) == "" {
		return fmt.Errorf("accept store %q of %s: not on %s", incarnation, node, a.config.Self)
	}

	a.writing.Lock()
	defer a.writing.Unlock()

	a.mu.Lock()
	id := a.identity
	a.mu.Unlock()

	if id.Roster == nil {
		return fmt.Errorf("accept the new store of %s: %s has not taken part itself", node, a.config.Self)
	}

	id.Roster = maps.Clone(id.Roster)
	id.Roster[node] = incarnation

	if err := id.save(a.config.Dir); err != nil {
		return fmt.Errorf("accept the new store of %s: %w", node, err)
	}

	a.update(func() { a.identity = id })

	return nil
}

func (a *Authority) rosterEntry(node string) string {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.identity.Roster[node]
}
