package containers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// fakeRuntime is containerd without containerd. It counts what would be a
// second instance.
type fakeRuntime struct {
	mu    sync.Mutex
	next  int
	tasks map[string]*fakeTask
	// spares are the digests of what waits to start.
	spares map[string]string
	down   bool
	// slow is how long Find and Start take.
	slow time.Duration
	// events are the calls that changed something, and when.
	events []string
	twice  bool
	begin  time.Time
}

type fakeTask struct {
	Task
	exited chan struct{}
	code   chan int
}

var errDown = errors.New("containerd is down")

func newFakeRuntime() *fakeRuntime {
	return &fakeRuntime{tasks: map[string]*fakeTask{}, spares: map[string]string{}, next: 100, begin: time.Now()}
}

func (f *fakeRuntime) note(format string, args ...any) {
	f.events = append(f.events, fmt.Sprintf("%v ", time.Since(f.begin))+fmt.Sprintf(format, args...))
}

func (f *fakeRuntime) log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()

	out := f.events
	f.events = nil

	return out
}

func (f *fakeRuntime) Names(context.Context) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.down {
		return nil, errDown
	}

	var names []string
	for name := range f.tasks {
		names = append(names, name)
	}

	return names, nil
}

func (f *fakeRuntime) Find(ctx context.Context, name string) (*Task, error) {
	time.Sleep(f.slow)
	f.mu.Lock()
	defer f.mu.Unlock()

	if ctx.Err() != nil {
		return nil, ctx.Err()
	}

	if f.down {
		return nil, errDown
	}

	if t := f.tasks[name]; t != nil {
		return &t.Task, nil
	}

	return nil, nil
}

func (f *fakeRuntime) Start(_ context.Context, name string, spec ContainerSpecSpec) (*Task, error) {
	time.Sleep(f.slow)
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.down {
		return nil, errDown
	}

	if f.tasks[name] != nil {
		f.twice = true
	}

	how := "start"
	if f.spares[name] == Digest(spec) {
		how = "start the spare of"
	}

	delete(f.spares, name)
	f.note("%s %s %v", how, name, spec.Args)

	return f.run(name, spec), nil
}

func (f *fakeRuntime) run(name string, spec ContainerSpecSpec) *Task {
	f.next++
	exited, code := make(chan struct{}), make(chan int, 1)
	f.tasks[name] = &fakeTask{exited: exited, code: code, Task: Task{
		PID: f.next, Digest: Digest(spec), Generation: spec.Generation, Exited: exited, ExitCode: code,
	}}

	return &f.tasks[name].Task
}

func (f *fakeRuntime) Prepare(_ context.Context, name string, spec ContainerSpecSpec) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.down {
		return errDown
	}

	if f.spares[name] == Digest(spec) {
		return nil
	}

	f.note("prepare %s %v", name, spec.Args)
	f.spares[name] = Digest(spec)

	return nil
}

func (f *fakeRuntime) RemoveSpare(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.down {
		return errDown
	}

	if f.spares[name] != "" {
		f.note("remove the spare of %s", name)
	}

	delete(f.spares, name)

	return nil
}

func (f *fakeRuntime) Delete(context.Context, string) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.down {
		return errDown
	}

	return nil
}

func (f *fakeRuntime) Stop(_ context.Context, name string, signal syscall.Signal, timeout time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()

	if f.down {
		return errDown
	}

	if f.tasks[name] != nil {
		f.note("stop %s %d %v", name, int(signal), timeout)
	}

	delete(f.tasks, name)

	return nil
}

// end lets a process end by itself.
func (f *fakeRuntime) end(name string, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()

	close(f.tasks[name].exited)
	f.tasks[name].code <- code
	delete(f.tasks, name)
}

func (f *fakeRuntime) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.down = down
}
