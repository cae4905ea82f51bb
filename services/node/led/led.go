// Package led tells with a board's own light that its node needs somebody: a
// Raspberry Pi in a cupboard has no screen. It is a process apart from the daemon,
// so that it also tells of a daemon that doesn't run.
package led

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// Condition of a node, as far as a light can tell.
type Condition int

const (
	// Healthy in the cluster's eyes. The light does what it did before.
	Healthy Condition = iota
	// Unhealthy is a node with a problem, or one that is not there yet: 1 s on, 1 s off.
	Unhealthy
	// Refused is an antler.yaml that is wrong: two short flashes every 2 s.
	Refused
)

// phase is a part of a pattern.
type phase struct {
	on     bool
	length time.Duration
}

// calm is how long a healthy node is left alone.
const calm = 5 * time.Second

// pattern of a condition, 2 s long. The Raspberry Pi's firmware flashes three times
// or more when it can't start.
func pattern(c Condition) []phase {
	const short = 200 * time.Millisecond

	if c == Refused {
		return []phase{{true, short}, {false, short}, {true, short}, {false, 2*time.Second - 3*short}}
	}

	return []phase{{true, time.Second}, {false, time.Second}}
}

// Light is one below /sys/class/leds:
// https://docs.kernel.org/leds/leds-class.html
type Light struct {
	dir string
	// trigger is what has switched it so far, for example heartbeat.
	trigger string
	taken   bool
}

// active stands in brackets in the list of triggers.
var active = regexp.MustCompile(`\[([^\]]+)\]`)

// names of a Raspberry Pi's activity light: that of the mainline kernel's device
// trees, and one of older ones.
func names() []string { return []string{"ACT", "led0"} }

// Find returns the board's light below root, which is /sys/class/leds but in tests.
// Nil means that there is none.
func Find(root string) (*Light, error) {
	for _, name := range names() {
		dir := filepath.Join(root, name)

		triggers, err := os.ReadFile(filepath.Join(dir, "trigger"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}

		if err != nil {
			return nil, fmt.Errorf("look at the light %s: %w", name, err)
		}

		light := &Light{dir: dir, trigger: "none"}
		if found := active.FindSubmatch(triggers); found != nil {
			light.trigger = string(found[1])
		}

		return light, nil
	}

	return nil, nil
}

func (l *Light) write(name, value string) error {
	return os.WriteFile(filepath.Join(l.dir, name), []byte(value), 0o644)
}

func (l *Light) set(on bool) error {
	if !l.taken {
		err := l.write("trigger", "none")
		if err != nil {
			return err
		}

		l.taken = true
	}

	if on {
		return l.write("brightness", "1")
	}

	return l.write("brightness", "0")
}

// release gives the light back to what switched it.
func (l *Light) release() error {
	if !l.taken {
		return nil
	}

	l.taken = false

	return errors.Join(l.write("brightness", "0"), l.write("trigger", l.trigger))
}

// Show what judge finds until ctx ends, and give the light back then.
func (l *Light) Show(ctx context.Context, judge func(context.Context) Condition, sleep func(context.Context, time.Duration) error) error {
	for ctx.Err() == nil {
		err := l.round(ctx, judge(ctx), sleep)
		if err != nil && ctx.Err() == nil {
			return errors.Join(fmt.Errorf("switch the light %s: %w", l.dir, err), l.release())
		}
	}

	return l.release()
}

func (l *Light) round(ctx context.Context, c Condition, sleep func(context.Context, time.Duration) error) error {
	if c == Healthy {
		return errors.Join(l.release(), sleep(ctx, calm))
	}

	for _, phase := range pattern(c) {
		err := l.set(phase.on)
		if err == nil {
			err = sleep(ctx, phase.length)
		}

		if err != nil {
			return err
		}
	}

	return nil
}
