package moosefs

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"antler/services/node/config"
	"antler/services/replication"
)

// fakeRunner answers questions and records everything else.
type fakeRunner struct {
	mu      sync.Mutex
	answers map[string]string
	codes   map[string]int
	ran     []string
}

func (f *fakeRunner) Run(_ context.Context, command ...string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	line := strings.Join(command, " ")

	if answer, asked := f.answers[line]; asked {
		return answer, nil
	}

	f.ran = append(f.ran, line)

	if code := f.codes[command[0]]; code != 0 {
		return "", &replication.CommandError{Command: command, Code: code, Output: "no"}
	}

	return "", nil
}

func TestSetDefaultsChangesOnlyWhatDiffers(t *testing.T) {
	for _, test := range []struct {
		name           string
		storage        config.Storage
		class, classes string
		want           []string
	}{
		{"as MooseFS begins", config.Storage{Copies: 2, TrashTime: 86400}, "2CP", "", nil},
		{"three copies", config.Storage{Copies: 3, TrashTime: 86400}, "2CP", "", []string{"mfssetsclass 3CP /m"}},
		{"a class of its own", config.Storage{Copies: 1, TrashTime: 86400}, "2CP", "2CP\n3CP\n", []string{
			"mfscreatesclass -M /m -K 1 antler-1", "mfssetsclass antler-1 /m",
		}},
		{"that is there", config.Storage{Copies: 1, TrashTime: 86400}, "antler-1", "2CP\nantler-1\n", nil},
		{"trash, rounded up", config.Storage{Copies: 2, TrashTime: 5400}, "2CP", "", []string{"mfssettrashretention 2 /m"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			run := &fakeRunner{answers: map[string]string{
				"mfsgetsclass /m":         "/m: " + test.class + "\n",
				"mfsgettrashretention /m": "/m: 24 (1d)\n",
				"mfslistsclass -M /m":     test.classes,
			}}
			require.NoError(t, SetDefaults(t.Context(), run, "/m", test.storage))
			assert.Equal(t, test.want, run.ran)
		})
	}
}

func TestSetDefaultsDistrustsOutput(t *testing.T) {
	run := &fakeRunner{answers: map[string]string{"mfsgetsclass /m": "/m is no MooseFS object\n"}}
	assert.ErrorIs(t, SetDefaults(t.Context(), run, "/m", config.Storage{Copies: 2}), errOutput)
}

// The manual's number: 30 retries end after about 132 s.
func TestIORetries(t *testing.T) {
	assert.Equal(t, 30, ioRetries(130*time.Second))
	assert.Equal(t, 8656, ioRetries(clientPatience))
}
