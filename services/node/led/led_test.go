package led_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/node/led"
)

// board is a directory like /sys/class/leds with one light.
type board struct {
	t    *testing.T
	root string
	name string
}

func newBoard(t *testing.T, name string) *board {
	t.Helper()

	b := &board{t, t.TempDir(), name}
	require.NoError(t, os.MkdirAll(filepath.Join(b.root, name), 0o755))
	b.put("trigger", "none timer mmc0 [heartbeat] default-on\n")
	b.put("brightness", "0\n")

	return b
}

func (b *board) put(file, text string) {
	b.t.Helper()
	require.NoError(b.t, os.WriteFile(filepath.Join(b.root, b.name, file), []byte(text), 0o644))
}

func (b *board) get(file string) string {
	b.t.Helper()

	text, err := os.ReadFile(filepath.Join(b.root, b.name, file))
	require.NoError(b.t, err)

	return strings.TrimSpace(string(text))
}

// show returns what could be seen during so many pauses: a line for each, with
// what switches the light, whether it is on, and for how long.
func (b *board) show(pauses int, conditions ...led.Condition) []string {
	b.t.Helper()

	light, err := led.Find(b.root)
	require.NoError(b.t, err)
	require.NotNil(b.t, light)

	ctx, stop := context.WithCancel(b.t.Context())

	var seen []string

	judge := func(context.Context) led.Condition {
		next := conditions[0]
		if len(conditions) > 1 {
			conditions = conditions[1:]
		}

		return next
	}

	require.NoError(b.t, light.Show(ctx, judge, func(_ context.Context, d time.Duration) error {
		seen = append(seen, strings.Join([]string{b.get("trigger"), b.get("brightness"), d.String()}, " "))
		if len(seen) == pauses {
			stop()

			return context.Canceled
		}

		return nil
	}))

	return seen
}

func TestARefusedConfigurationFlashesTwice(t *testing.T) {
	b := newBoard(t, "ACT")
	require.Equal(t, []string{
		"none 1 200ms", "none 0 200ms", "none 1 200ms", "none 0 1.4s", "none 1 200ms",
	}, b.show(5, led.Refused))
	require.Equal(t, "heartbeat", b.get("trigger"), "the light is given back")
}

func TestAnUnhealthyNodeBlinksUntilItIsWell(t *testing.T) {
	b := newBoard(t, "led0")
	require.Equal(t, []string{
		"none 1 1s", "none 0 1s", "heartbeat 0 5s", "heartbeat 0 5s", "none 1 1s",
	}, b.show(5, led.Unhealthy, led.Healthy, led.Healthy, led.Unhealthy))
}

func TestAHealthyNodesLightIsLeftAlone(t *testing.T) {
	b := newBoard(t, "ACT")
	before := b.get("trigger")
	b.show(3, led.Healthy)
	require.Equal(t, before, b.get("trigger"))
}

func TestABoardWithoutALight(t *testing.T) {
	for _, root := range []string{t.TempDir(), filepath.Join(t.TempDir(), "gone"), newBoard(t, "input3::capslock").root} {
		light, err := led.Find(root)
		require.NoError(t, err)
		require.Nil(t, light)
	}
}

func TestALightThatCannotBeSwitchedIsAnError(t *testing.T) {
	b := newBoard(t, "ACT")
	light, err := led.Find(b.root)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Join(b.root, "ACT")))

	err = light.Show(t.Context(), func(context.Context) led.Condition { return led.Refused }, func(context.Context, time.Duration) error { return nil })
	require.ErrorContains(t, err, "switch the light")
}
