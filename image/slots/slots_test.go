package slots

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStateReadsBack(t *testing.T) {
	for _, state := range []State{{Slot: "a"}, {Slot: "b"}, {Slot: "a", Try: "b"}, {Slot: "b", Try: "a"}} {
		require.Len(t, state.Bytes(), 512, "one sector")
		require.Equal(t, state, ParseState(state.Bytes()))
	}
}

func TestStateThatMakesNoSenseIsTheFirstSlot(t *testing.T) {
	for _, text := range []string{"", "slot=", "slot=c\ntry=d\n", "slot=a\ntry=a\n", "\x00slot=b\n", strings.Repeat("\xff", 512), "slots=b"} {
		require.Equal(t, State{Slot: "a"}, ParseState([]byte(text)), "%q", text)
	}
}

func TestASlotIsTriedOnce(t *testing.T) {
	first := Choose(State{Slot: "a", Try: "b"})
	require.Equal(t, Choice{Order: []string{"b", "a"}, Trial: "b", Next: State{Slot: "a"}}, first)

	second := Choose(first.Next)
	require.Equal(t, Choice{Order: []string{"a", "b"}, Next: State{Slot: "a"}}, second, "whatever became of the trial")
	require.Equal(t, second, Choose(second.Next))
}

func TestEntryReadsBack(t *testing.T) {
	arguments, err := ParseEntry(Entry("panic=5 antler.root=7:ab"))
	require.NoError(t, err)
	require.Equal(t, "panic=5 antler.root=7:ab", arguments)

	for _, wrong := range []string{"", "arguments=x", "x\n", "arguments=a\nb\n", "arguments=$(x)\n", "arguments=" + strings.Repeat("x", 5000) + "\n"} {
		_, err = ParseEntry([]byte(wrong))
		require.Error(t, err, "%q", wrong)
	}
}

func TestParseStarted(t *testing.T) {
	require.Equal(t, Started{Slot: "b", Loader: true, Trial: true}, ParseStarted("quiet antler.slot=b antler.loader antler.trial\n"))
	require.Equal(t, Started{Slot: "a"}, ParseStarted("antler.slot=a"))
	require.Equal(t, Started{}, ParseStarted("antler.slot=../etc antler.trials"))
}

func TestScriptIsAWholeImage(t *testing.T) {
	image := Script()
	require.Equal(t, "\x27\x05\x19\x56", string(image[:4]))
	require.Equal(t, script, image[72:])
	require.NotContains(t, string(script), "\r")
}
