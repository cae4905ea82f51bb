package provisioner

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cosi-project/runtime/pkg/controller/runtime"
	"github.com/cosi-project/runtime/pkg/resource"
	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/cosi-project/runtime/pkg/state"
	"github.com/cosi-project/runtime/pkg/state/impl/inmem"
	"github.com/cosi-project/runtime/pkg/state/impl/namespaced"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"antler/services/kubernetes"
	"antler/services/metadata"
)

// Failed attempts are made again, later and later, and each says why.
func TestRunRetriesUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(claimed(nil), storageClass(nil))
		b.driver.fail = errWrong

		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)

		go func() { done <- b.Run(ctx) }()

		time.Sleep(10 * time.Second)
		synctest.Wait()

		// After 0, 1, 3 and 7 s.
		require.EqualValues(t, 4, b.Counts.Failed.Load())
		require.Equal(t, `Warning ProvisioningFailed parameters.copies: "12" is not a number of copies in 1..9`, <-b.events.Events)
		require.Empty(t, b.volumes(t))

		b.driver.mu.Lock()
		b.driver.fail = nil
		b.driver.mu.Unlock()

		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Len(t, b.volumes(t), 1)

		stop()
		require.NoError(t, <-done)
	})
}

func TestFenceLetsNothingOutThatChanges(t *testing.T) {
	var (
		mu   sync.Mutex
		seen []string
	)

	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()

		seen = append(seen, r.Method)

		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"pvc-u1"}}`)
	}))
	defer api.Close()

	var serving error

	clients, err := Connect(&rest.Config{Host: api.URL}, func() error { return serving })
	require.NoError(t, err)

	pv := volumeOf(claimed(nil), storageClass(nil), "")
	change := func() (out []error) {
		_, err := clients.Volumes.Create(t.Context(), pv, metav1.CreateOptions{})
		out = append(out, err, clients.Volumes.Delete(t.Context(), pv.Name, metav1.DeleteOptions{}))
		_, err = clients.Volumes.Patch(t.Context(), pv.Name, "application/merge-patch+json", []byte("{}"), metav1.PatchOptions{})

		return append(out, err)
	}

	for _, err := range change() {
		require.NoError(t, err)
	}

	require.Equal(t, []string{"POST", "DELETE", "PATCH"}, seen)

	seen, serving = nil, errNoLease

	for _, err := range change() {
		require.ErrorIs(t, err, errNoLease)
	}

	_, err = clients.Volumes.Get(t.Context(), pv.Name, metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"GET"}, seen)
}

// Who may write a claim writes the name of its source.
func TestNamesLeadNowhereElse(t *testing.T) {
	var seen []string

	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, r.URL.Path) }))
	defer api.Close()

	clients, err := Connect(&rest.Config{Host: api.URL}, func() error { return nil })
	require.NoError(t, err)

	for _, name := range []string{"../../../../api/v1/secrets", "..", "a/b", "a%2fb"} {
		err := clients.Snapshots.Get(t.Context(), Place{"volumesnapshots", "shop", name}, &VolumeSnapshot{})
		require.Error(t, err, name)
		err = clients.Snapshots.Get(t.Context(), Place{Resource: "volumesnapshotcontents", Name: name}, &VolumeSnapshotContent{})
		require.Error(t, err, name)
		_, err = clients.Claims("shop").Get(t.Context(), name, metav1.GetOptions{})
		require.Error(t, err, name)
		_, err = clients.Classes.Get(t.Context(), name, metav1.GetOptions{})
		require.Error(t, err, name)
	}

	require.Empty(t, seen)
}

func TestKubeconfigsThatAreRefused(t *testing.T) {
	const good = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`

	path := filepath.Join(t.TempDir(), "kubeconfig")

	_, err := Load(path)
	require.ErrorContains(t, err, path+": is not there")

	for want, content := range map[string]string{
		"":                         good,
		"users[].user.exec: would": strings.Replace(good, "token: secret", "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/aws, interactiveMode: Never}", 1),
		"insecure-skip-tls-verify": strings.Replace(good, "{server:", "{insecure-skip-tls-verify: true, server:", 1),
		"write a new one":          strings.Replace(good, "current-context: x", "current-context: y", 1),
		"invalid configuration":    "",
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))

		config, err := Load(path)
		if want == "" {
			require.NoError(t, err)
			require.Equal(t, "https://127.0.0.1:6443", config.Host)

			continue
		}

		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, path)
		require.NotContains(t, err.Error(), "secret")
	}
}

// fakeRunning notes that it ends with its context.
type fakeRunning struct{ ended chan struct{} }

func (fakeRunning) Connection() Connection   { return Connection{Server: "s", Err: errNoLease} }
func (f fakeRunning) Ended() <-chan struct{} { return f.ended }

// It works where the master serves, in one epoch at a time.
func TestControllerFollowsTheMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			mu     sync.Mutex
			epochs []uint64
			alive  int
		)

		st := state.WrapCore(namespaced.NewState(inmem.Build))
		rt, err := runtime.NewRuntime(st, zaptest.NewLogger(t))
		require.NoError(t, err)
		require.NoError(t, rt.RegisterController(&Controller{
			Kubeconfig: "/k", Counts: &Counts{}, Now: time.Now,
			Start: func(ctx context.Context, epoch uint64) Running {
				mu.Lock()
				defer mu.Unlock()

				epochs = append(epochs, epoch)
				alive++
				assert.Equal(t, 1, alive)

				r := fakeRunning{make(chan struct{})}

				context.AfterFunc(ctx, func() {
					mu.Lock()
					defer mu.Unlock()

					alive--

					close(r.ended)
				})

				return r
			},
		}))

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)

		go func() { done <- rt.Run(ctx) }()

		defer func() {
			cancel()
			assert.NoError(t, <-done)
			assert.Zero(t, alive)
		}()

		master := metadata.NewMasterStatus()
		require.NoError(t, st.Create(ctx, master))

		for _, step := range []struct {
			phase metadata.Phase
			epoch uint64
			want  []uint64
			alive int
		}{
			{metadata.PhaseStarting, 5, nil, 0},
			{metadata.PhaseServing, 5, []uint64{5}, 1},
			{metadata.PhaseServing, 7, []uint64{5, 7}, 1},
			{metadata.PhaseFailed, 7, []uint64{5, 7}, 0},
		} {
			_, err := st.UpdateWithConflicts(ctx, master.Metadata(), func(r resource.Resource) error {
				spec := r.(*metadata.MasterStatus).TypedSpec()
				spec.Phase, spec.Epoch = step.phase, step.epoch

				return nil
			})
			require.NoError(t, err)

			time.Sleep(2 * statusInterval)
			synctest.Wait()

			mu.Lock()
			require.Equal(t, step.want, epochs)
			require.Equal(t, step.alive, alive)
			mu.Unlock()

			status, err := safe.StateGetByID[*kubernetes.ProvisionerStatus](ctx, st, kubernetes.ProvisionerStatusID)
			require.NoError(t, err)

			if step.alive == 1 {
				require.Equal(t, kubernetes.ProvisionerConnecting, status.TypedSpec().Phase)
				require.Equal(t, step.epoch, status.TypedSpec().Epoch)
				require.Equal(t, errNoLease.Error(), status.TypedSpec().Error)
			} else {
				require.Equal(t, kubernetes.ProvisionerIdle, status.TypedSpec().Phase)
				require.Empty(t, status.TypedSpec().Error)
			}
		}
	})
}

// A node whose kubeconfig is missing says so and goes on asking; once there is
// one that leads nowhere, it says that.
func TestWorkSaysWhyItCannot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	w := &Work{Kubeconfig: path, Serving: func() error { return nil }, Interval: time.Hour, Counts: &Counts{}, Logger: zaptest.NewLogger(t)}

	require.ErrorContains(t, w.session(t.Context()), "is not there")

	gone := httptest.NewTLSServer(http.NotFoundHandler())
	gone.Close()
	require.NoError(t, os.WriteFile(path, []byte(`{"clusters":[{"name":"c","cluster":{"server":"`+gone.URL+`"}}],
		"contexts":[{"name":"x","context":{"cluster":"c"}}],"current-context":"x"}`), 0o600))

	err := w.session(t.Context())
	require.ErrorContains(t, err, "API server of kubeconfig "+path)
	require.Equal(t, gone.URL, w.Connection().Server)
	require.False(t, w.Connection().Working)
}
