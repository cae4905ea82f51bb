package kubernetes

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// serveSockets serves the driver's sockets as antlerd does, until the test ends.
func serveSockets(t *testing.T) (kubelet string) {
	t.Helper()

	// The path of a socket must be short.
	kubelet, err := os.MkdirTemp("", "k")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(kubelet) })

	driver := grpc.NewServer()
	csi.RegisterIdentityServer(driver, &Identity{Version: "1.2.3"})
	t.Cleanup(driver.Stop)

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})

	go func() {
		defer close(done)

		s := Sockets{
			Registration: &Registration{Kubelet: kubelet, Logger: zap.NewNop()},
			Serve:        func(l net.Listener) error { return driver.Serve(l) },
			Interval:     10 * time.Millisecond,
		}
		_ = s.Run(ctx)
	}()

	t.Cleanup(func() {
		cancel()
		<-done
		require.NoFileExists(t, SocketPath(kubelet))
		require.NoFileExists(t, RegistrationPath(kubelet))
	})

	return kubelet
}

// learn does what kubelet does when it finds a socket.
func learn(t *testing.T, kubelet string) {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	info, err := registerapi.NewRegistrationClient(dial(t, "unix://"+RegistrationPath(kubelet))).
		GetInfo(ctx, &registerapi.InfoRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.Equal(t, registerapi.CSIPlugin, info.GetType())
	require.Equal(t, DriverName, info.GetName())
	require.Equal(t, []string{"1.0.0"}, info.GetSupportedVersions())

	answer, err := csi.NewIdentityClient(dial(t, "unix://"+info.GetEndpoint())).
		GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.Equal(t, DriverName, answer.GetName())
	require.Equal(t, "1.2.3", answer.GetVendorVersion())

	for _, path := range []string{RegistrationPath(kubelet), SocketPath(kubelet)} {
		st, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	}
}

func TestKubeletLearnsOfTheDriver(t *testing.T) {
	kubelet := serveSockets(t)
	learn(t, kubelet)

	_, err := registerapi.NewRegistrationClient(dial(t, "unix://"+RegistrationPath(kubelet))).
		NotifyRegistrationStatus(t.Context(), &registerapi.RegistrationStatus{PluginRegistered: true})
	require.NoError(t, err)
}

// The configuration bounds kubelet's directory for it (config.maxSocketDir).
func TestSocketPathsAreShortEnough(t *testing.T) {
	dir := "/" + strings.Repeat("k", 61)
	require.Len(t, RegistrationPath(dir), 107)
	require.LessOrEqual(t, len(SocketPath(dir)), 107)
}

// Kubelet's directory may be emptied, or hold what an antlerd that was killed
// has left.
func TestSocketsComeBack(t *testing.T) {
	kubelet := serveSockets(t)
	learn(t, kubelet)

	for _, dir := range []string{"plugins", "plugins_registry"} {
		require.NoError(t, os.RemoveAll(filepath.Join(kubelet, dir)))
	}

	learn(t, kubelet)

	require.NoError(t, os.Remove(RegistrationPath(kubelet)))
	require.NoError(t, os.WriteFile(RegistrationPath(kubelet), []byte("left behind"), 0o600))
	learn(t, kubelet)
}

// Kubelet doesn't come back by itself to a driver that it failed to take.
func TestKubeletThatRefusedFindsANewSocket(t *testing.T) {
	kubelet := serveSockets(t)
	learn(t, kubelet)

	before, err := os.Stat(RegistrationPath(kubelet))
	require.NoError(t, err)

	_, err = registerapi.NewRegistrationClient(dial(t, "unix://"+RegistrationPath(kubelet))).
		NotifyRegistrationStatus(t.Context(), &registerapi.RegistrationStatus{Error: "the node has no UID"})
	require.NoError(t, err)

	require.Eventually(t, func() bool {
		now, err := os.Stat(RegistrationPath(kubelet))

		return err == nil && !now.ModTime().Equal(before.ModTime())
	}, 10*time.Second, time.Millisecond)
	learn(t, kubelet)
}
