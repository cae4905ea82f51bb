package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// fakeDRBD is a Runner that plays two connected replicas, of which one is here.
// Programs of a kind it doesn't know are a failure of the test.
type fakeDRBD struct {
	t *testing.T

	mu sync.Mutex
	// ran are the commands so far, without what is the same in all.
	ran []string
	// refuse has the errors that a command ends with, the first first.
	refuse map[string][]error
	// wipefs is its answer.
	wipefs string
	// status is what DRBD 9 says of itself in JSON.
	status string
	// exists: the kernel has the resource.
	exists bool
	// differ are what comparisons of the replicas find, in KiB, the first first; none is 0.
	// peerDisk is what the peer's disk is after one.
	differ   []int
	peerDisk string
	// hang makes "primary" hang until its context ends.
	hang bool
	// linger, if there is one, keeps "primary" until it is closed.
	linger chan struct{}
	// follower takes events; pending are those from before there was one.
	follower chan string
	// helper: the kernel waits for the handler; looked counts who asked.
	helper  atomic.Bool
	looked  atomic.Int32
	pending []string
}

func newFakeDRBD(t *testing.T, existing ...string) *fakeDRBD {
	t.Helper()

	return &fakeDRBD{
		t: t, refuse: map[string][]error{}, wipefs: `{"signatures": []}`,
		follower: make(chan string, 100), pending: append(existing, "exists -"),
		exists: len(existing) > 0,
	}
}

func refusal(text string) error {
	return &CommandError{Command: []string{"drbdsetup"}, Code: 11, Output: "0: State change failed: " + text}
}

func (f *fakeDRBD) Run(ctx context.Context, command ...string) (string, error) {
	short := strings.TrimPrefix(strings.Join(command, " "), "drbdsetup ")
	if command[0] == "env" {
		short = strings.Join(command[5:], " ")
	}

	if command[0] == "wipefs" {
		short = "wipefs"
	}

	f.mu.Lock()
	f.ran = append(f.ran, short)

	hang := f.hang && short == "primary 0"

	if errs := f.refuse[short]; len(errs) > 0 {
		f.refuse[short] = errs[1:]
		f.mu.Unlock()

		return "", errs[0]
	}
	f.mu.Unlock()

	if hang {
		<-ctx.Done()

		return "", &CommandError{Command: command, Code: -1, Output: "killed"}
	}

	return f.effect(short)
}

// effect is what the kernel would tell.
func (f *fakeDRBD) effect(command string) (string, error) {
	switch command {
	case "wipefs":
		f.mu.Lock()
		defer f.mu.Unlock()

		return f.wipefs, nil
	case "create-md --force meta", "connect --discard-my-data meta":
	case "verify 0 --start=0":
		f.tell("change peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:VerifyS",
			"change peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:Established")
	case "events2 --now --statistics meta":
		return f.statistics(), nil
	case "connect meta":
		if f.parted() {
			f.tell("create connection name:meta peer-node-id:0 conn-name:peer connection:Connected role:Secondary",
				"create peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:UpToDate")
		}
	case "disconnect meta":
		f.tell("destroy peer-device name:meta peer-node-id:0 conn-name:peer volume:0",
			"destroy connection name:meta peer-node-id:0 conn-name:peer")
	case "adjust meta":
		if f.was(true) {
			break
		}

		f.tell("create resource name:meta role:Secondary suspended:no",
			"create device name:meta volume:0 minor:0 disk:Inconsistent",
			"create connection name:meta peer-node-id:0 conn-name:peer connection:Connected role:Secondary",
			"create peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:Inconsistent")
	case "new-current-uuid 0 --clear-bitmap":
		// The peer's last word, from before it heard of that, comes afterwards.
		f.tell("change device name:meta volume:0 minor:0 disk:UpToDate",
			"change peer-device name:meta peer-node-id:0 conn-name:peer volume:0 peer-disk:UpToDate",
			"change peer-device name:meta peer-node-id:0 conn-name:peer volume:0 peer-disk:Inconsistent")
	case "primary 0":
		f.tell("change resource name:meta role:Primary")

		if f.linger != nil {
			<-f.linger
		}
	case "primary 0 --force":
		f.tell("change resource name:meta role:Primary", "change device name:meta volume:0 minor:0 disk:UpToDate")
	case "secondary 0":
		f.tell("change resource name:meta role:Secondary")
	case "detach 0 --force":
		f.tell("change device name:meta volume:0 minor:0 disk:Failed", "change device name:meta volume:0 minor:0 disk:Diskless")
	case "resume-io 0":
		f.tell("change resource name:meta suspended:no")
	case "down meta":
		f.was(false)
		f.tell("destroy device name:meta volume:0 minor:0", "destroy resource name:meta")
	case "disconnect ipv4:10.0.0.1:7789 ipv4:10.0.0.2:7789 --force":
		f.tell("change connection name:meta peer-node-id:0 conn-name:peer connection:StandAlone role:Unknown")
	default:
		return f.effectNine(command)
	}

	return "", nil
}

// allow ends that a command is refused.
func (f *fakeDRBD) allow(command string) {
	f.mu.Lock()
	defer f.mu.Unlock()

	delete(f.refuse, command)
}

func (f *fakeDRBD) helpers() (bool, error) {
	f.looked.Add(1)

	return f.helper.Load(), nil
}

// parted reports whether the peer was parted from in order, or for what it holds.
func (f *fakeDRBD) parted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()

	return slices.Contains(f.ran, "disconnect meta") || slices.Contains(f.ran, "verify 0 --start=0")
}

// statistics are those of a connected pair after a comparison.
func (f *fakeDRBD) statistics() string {
	f.mu.Lock()
	defer f.mu.Unlock()

	found := 0
	if len(f.differ) > 0 {
		found, f.differ = f.differ[0], f.differ[1:]
	}

	return fmt.Sprintf(`exists resource name:meta role:Primary suspended:no
exists connection name:meta peer-node-id:0 conn-name:peer connection:Connected role:Secondary
exists device name:meta volume:0 minor:0 disk:UpToDate size:524288
exists peer-device name:meta peer-node-id:0 conn-name:peer volume:0 replication:Established peer-disk:%s out-of-sync:%d
exists -
`, cmp.Or(f.peerDisk, diskUpToDate), found)
}

// effectNine is what DRBD 9 would tell.
func (f *fakeDRBD) effectNine(command string) (string, error) {
	switch command {
	case "primary meta":
		f.tell("change resource name:meta role:Primary may_promote:no")
	case "primary meta --force":
		f.tell("change resource name:meta role:Primary may_promote:no", "change device name:meta volume:0 minor:0 disk:UpToDate quorum:yes")
	case "secondary meta", "secondary meta --force":
		f.tell("change resource name:meta role:Secondary")
	case "resource-options meta --quorum=off":
		f.tell("change resource name:meta suspended:no", "change device name:meta volume:0 minor:0 quorum:yes")
	case "resource-options meta --quorum=2":
	case "status --json meta":
		return f.status, nil
	case "disconnect meta 1 --force":
		f.tell("change connection name:meta peer-node-id:1 conn-name:n2 connection:StandAlone role:Unknown")
	default:
		return "", fmt.Errorf("the fake doesn't know %q", command)
	}

	return "", nil
}

// was reports whether the resource existed, and notes whether it does now.
func (f *fakeDRBD) was(now bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()

	before := f.exists
	f.exists = now

	return before
}

func (f *fakeDRBD) tell(lines ...string) {
	for _, line := range lines {
		f.follower <- line
	}
}

func (f *fakeDRBD) Follow(ctx context.Context, line func(string), _ ...string) error {
	for _, l := range f.pending {
		line(l)
	}

	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case l := <-f.follower:
			line(l)
		}
	}
}

// commands returns what ran, but looks.
func (f *fakeDRBD) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()

	var out []string

	for _, c := range f.ran {
		if c != "wipefs" {
			out = append(out, c)
		}
	}

	return out
}

// fakeDevice is a Device of a size that remembers whether it was zeroed.
type fakeDevice struct {
	mu     sync.Mutex
	size   int64
	err    error
	dirty  bool
	zeroed bool
}

func (d *fakeDevice) Size(string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	return d.size, d.err
}

func (d *fakeDevice) Blank(string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	return !d.dirty, nil
}

func (d *fakeDevice) Zero(context.Context, string) error {
	d.mu.Lock()
	defer d.mu.Unlock()

	d.zeroed = true

	return nil
}

// fakeHandler is asked nothing, and notes what it would say.
type fakeHandler struct{ refusing atomic.Bool }

func (h *fakeHandler) Fencing() bool { return false }

func (h *fakeHandler) Refuse(refuse bool) { h.refusing.Store(refuse) }

// fencer answers what is sent to it.
type fencer struct{ answers chan error }

func (f fencer) Outdate(ctx context.Context, _ string) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-f.answers:
		return err
	}
}

// saver is asked to save, and fails as often as it is told to.
type saver struct {
	mu    sync.Mutex
	asked int
	fails int
}

func (s *saver) SaveAside(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.asked++
	if s.asked <= s.fails {
		return errors.New("save the replica: no room")
	}

	return nil
}

// eventLog remembers the kinds of events.
type eventLog struct {
	mu    sync.Mutex
	kinds []string
}

func (l *eventLog) Emit(kind string, _ uint64, _ string) {
	l.mu.Lock()
	defer l.mu.Unlock()

	l.kinds = append(l.kinds, kind)
}

func (l *eventLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()

	return append([]string(nil), l.kinds...)
}
