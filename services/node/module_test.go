package node_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/resource/rtestutils"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"antler/services/node"
	"antler/services/node/config"
)

// loaded is a Loader of modules that are all there already.
type loaded struct{}

func (loaded) Load(context.Context, string, ...string) error { return nil }

func TestTheHelperOfDRBD(t *testing.T) {
	for name, c := range map[string]struct {
		helpless func() bool
		want     string
	}{
		"8.4 calls our handler, whoever loaded it":   {nil, "/usr/bin/antler-fence"},
		"9 calls nobody, and is to stay so":          {func() bool { return true }, "disabled\n"},
		"what isn't known to be 9 calls our handler": {func() bool { return false }, "/usr/bin/antler-fence"},
	} {
		t.Run(name, func(t *testing.T) {
			sys := t.TempDir()
			parameter := filepath.Join(sys, "drbd/parameters/usermode_helper")
			require.NoError(t, os.MkdirAll(filepath.Dir(parameter), 0o755))
			require.NoError(t, os.WriteFile(parameter, []byte("disabled\n"), 0o600))

			ctx, cancel := context.WithCancel(t.Context())
			store := state.WrapCore(namespaced.NewState(inmem.Build))
			require.NoError(t, store.Create(ctx, node.NewNodeConfig(&config.Config{
				Cluster: config.Cluster{Nodes: []config.Member{{Name: "n1", Roles: []config.Role{config.RoleMetadata}}}},
				Node:    config.Node{Name: "n1"},
			})))

			rt, err := runtime.NewRuntime(store, zaptest.NewLogger(t))
			require.NoError(t, err)
			require.NoError(t, rt.RegisterController(&node.ModuleController{
				Loader: loaded{}, SysModule: sys, Helper: "/usr/bin/antler-fence", Helpless: c.helpless,
			}))

			done := make(chan error, 1)
			go func() { done <- rt.Run(ctx) }()

			rtestutils.AssertResource(ctx, t, store, "drbd", func(s *node.ModuleStatus, a *assert.Assertions) {
				a.True(s.TypedSpec().Loaded)
				a.Empty(s.TypedSpec().Error)
			})
			cancel()
			require.NoError(t, <-done)

			got, err := os.ReadFile(parameter)
			require.NoError(t, err)
			assert.Equal(t, c.want, string(got))
		})
	}
}
