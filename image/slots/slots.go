package slots

import (
	"fmt"
	"slices"
	"strings"

	"antler/image/layout"
)

// Files on the boot partition; those of an entry are in a directory with the
// slot's name.
const (
	StateFile  = "slots.env"
	ScriptFile = "boot.scr"

	Kernel = "vmlinuz"
	Initrd = "initrd.img"
	// EntryFile is written last and removed first: without it there is nothing to
	// start in the slot.
	EntryFile = "entry.env"
)

// Arguments that the boot loader adds to those of the entry.
const (
	// SlotArgument names the slot that was started.
	SlotArgument = "antler.slot="
	// LoaderArgument says that it was the boot loader of the card that chose it.
	LoaderArgument = "antler.loader"
	// TrialArgument says that it is tried once.
	TrialArgument = "antler.trial"
	// K3sArgument names the version of k3s that the system holds; one without k3s
	// doesn't have it.
	K3sArgument = "antler.k3s="
)

// GuardFile holds the process id of the guard that resets a machine whose system
// on trial does not commit itself: the kernel's and systemd's part in falling back.
const GuardFile = "/run/trial-guard"

// StateSize is a sector: what a disk writes whole or not at all.
const StateSize = layout.Sector

// none stands for no slot, as U-Boot can't tell an empty variable from none.
const none = "none"

// State is what the boot loader reads.
type State struct {
	// Slot is the one to start; Try is to be started once before that, or "".
	Slot, Try string
}

// Bytes of the file.
func (s State) Bytes() []byte {
	try := s.Try
	if try == "" {
		try = none
	}

	out := make([]byte, StateSize)
	copy(out, "slot="+s.Slot+"\ntry="+try+"\n")

	return out
}

// ParseState reads the file as the boot loader does: what makes no sense is the
// first slot, and nothing to try.
func ParseState(data []byte) State {
	state := State{Slot: layout.SlotA}

	text, _, _ := strings.Cut(string(data), "\x00")
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")

		switch {
		case key == "slot" && value == layout.SlotB:
			state.Slot = value
		case key == "try" && (value == layout.SlotA || value == layout.SlotB):
			state.Try = value
		}
	}

	if state.Try == state.Slot {
		state.Try = ""
	}

	return state
}

// Other is the slot that is not this one.
func Other(slot string) string {
	if slot == layout.SlotA {
		return layout.SlotB
	}

	return layout.SlotA
}

// Choice is what the boot loader does with a state.
type Choice struct {
	// Order in which it looks for an entry to start; the first one that is whole
	// is started.
	Order []string
	// Trial is the slot that is started on trial, or "".
	Trial string
	// Next is the state that it writes before it starts anything.
	Next State
}

// Choose is the decision, in one place to read; boot.cmd says the same to U-Boot,
// and qemu-tests/image compares the two for every state there is.
func Choose(state State) Choice {
	if state.Try == "" {
		return Choice{Order: []string{state.Slot, Other(state.Slot)}, Next: state}
	}

	return Choice{Order: []string{state.Try, state.Slot}, Trial: state.Try, Next: State{Slot: state.Slot}}
}

const entryPrefix = "arguments="

// Entry is the file with the kernel's arguments.
func Entry(arguments string) []byte { return []byte(entryPrefix + arguments + "\n") }

// maxEntry is far above what a kernel takes.
const maxEntry = 4096

// ParseEntry returns the arguments.
func ParseEntry(data []byte) (string, error) {
	arguments, found := strings.CutPrefix(string(data), entryPrefix)
	arguments, whole := strings.CutSuffix(arguments, "\n")

	if !found || !whole || len(data) > maxEntry || strings.ContainsAny(arguments, "\n\x00$;\"'\\") {
		return "", fmt.Errorf("%s is not one line with the kernel's arguments", EntryFile)
	}

	return arguments, nil
}

// HasK3s reports whether the system with these arguments holds k3s.
func HasK3s(arguments string) bool {
	return slices.ContainsFunc(strings.Fields(arguments), func(word string) bool {
		return len(word) > len(K3sArgument) && strings.HasPrefix(word, K3sArgument)
	})
}

// Started is what the kernel's command line tells of how it was started.
type Started struct {
	// Slot that runs; "" on a system without slots.
	Slot string
	// Loader is true if the card's boot loader chose it, Trial if only for once.
	Loader, Trial bool
}

// ParseStarted reads a kernel command line.
func ParseStarted(cmdline string) Started {
	words := strings.Fields(cmdline)
	started := Started{Loader: slices.Contains(words, LoaderArgument), Trial: slices.Contains(words, TrialArgument)}

	for _, word := range words {
		if slot, ok := strings.CutPrefix(word, SlotArgument); ok && (slot == layout.SlotA || slot == layout.SlotB) {
			started.Slot = slot
		}
	}

	return started
}
