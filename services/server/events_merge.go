package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	antlerv1 "antler/api/antler/v1"
)

// gatherWait is what a node gets to send the events it has kept.
const gatherWait = 2 * time.Second

// source is where a node's events come from.
type source func(ctx context.Context, q Query, each func(Event) error) error

// sources are the event logs of all nodes.
func (s *Server) sources() map[string]source {
	out := map[string]source{}

	for _, member := range s.options.Config.Cluster.Nodes {
		if member.Name == s.options.Config.Node.Name {
			out[member.Name] = s.options.Events.Watch
		} else {
			out[member.Name] = s.remoteEvents(member.Name)
		}
	}

	return out
}

func (s *Server) remoteEvents(node string) source {
	return func(ctx context.Context, q Query, each func(Event) error) error {
		conn, err := s.peers.to(node)
		if err != nil {
			return err
		}

		ctx, cancel := context.WithCancel(onBehalf(ctx))
		defer cancel()

		request := &antlerv1.WatchEventsRequest{Local: true, Tail: uint32(q.Tail), Follow: q.Follow}
		if !q.Since.IsZero() {
			request.Since = timestamppb.New(q.Since)
		}

		stream, err := antlerv1.NewClusterServiceClient(conn).WatchEvents(ctx, request)
		if err != nil {
			return err
		}

		for {
			reply, err := stream.Recv()
			if err != nil {
				return err
			}

			err = each(eventFromAPI(reply.GetEvent()))
			if err != nil {
				return err
			}
		}
	}
}

// watchAll gives the events of all nodes to each: first what happened, in the
// order of the nodes' clocks, then what happens. Nodes that don't answer are
// left out until they do.
func (s *Server) watchAll(ctx context.Context, q Query, each func(Event) error) error {
	sources := s.sources()
	past := gather(ctx, sources, Query{Since: q.Since})

	// The next one wanted of each node.
	next := map[string]time.Time{}
	for node := range sources {
		next[node] = q.Since
	}

	for _, event := range past {
		next[event.Node] = event.Time.Add(time.Nanosecond)
	}

	if q.Tail > 0 && len(past) > q.Tail {
		past = past[len(past)-q.Tail:]
	}

	for _, event := range past {
		err := each(event)
		if err != nil {
			return err
		}
	}

	if !q.Follow {
		return nil
	}

	return s.follow(ctx, sources, next, each)
}

func gather(ctx context.Context, sources map[string]source, q Query) []Event {
	ctx, cancel := context.WithTimeout(ctx, gatherWait)
	defer cancel()

	var (
		mu   sync.Mutex
		all  []Event
		wait sync.WaitGroup
	)

	for _, read := range sources {
		wait.Go(func() {
			// What a node could say before it failed is better than nothing.
			_ = read(ctx, q, func(event Event) error {
				mu.Lock()
				defer mu.Unlock()

				all = append(all, event)

				return nil
			})
		})
	}

	wait.Wait()
	slices.SortStableFunc(all, func(a, b Event) int { return a.Time.Compare(b.Time) })

	return all
}

func (s *Server) follow(ctx context.Context, sources map[string]source, next map[string]time.Time, each func(Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	events := make(chan Event)

	for node, read := range sources {
		go s.followOne(ctx, read, next[node], events)
	}

	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event := <-events:
			err := each(event)
			if err != nil {
				return err
			}
		}
	}
}

// followOne goes on after a node was away, with what it has emitted since.
func (s *Server) followOne(ctx context.Context, read source, next time.Time, events chan<- Event) {
	for {
		_ = read(ctx, Query{Since: next, Follow: true}, func(event Event) error {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case events <- event:
				next = event.Time.Add(time.Nanosecond)

				return nil
			}
		})

		select {
		case <-ctx.Done():
			return
		case <-time.After(s.options.RetryInterval):
		}
	}
}

func eventToAPI(e Event) *antlerv1.Event {
	return &antlerv1.Event{
		Time: timestamppb.New(e.Time), Node: e.Node, Sequence: e.Sequence, Kind: e.Kind, Epoch: e.Epoch, Message: e.Message,
	}
}

func eventFromAPI(e *antlerv1.Event) Event {
	return Event{
		Time: e.GetTime().AsTime(), Node: e.GetNode(), Sequence: e.GetSequence(), Kind: e.GetKind(), Epoch: e.GetEpoch(), Message: e.GetMessage(),
	}
}
