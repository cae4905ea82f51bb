//go:build controlplane

package provisioner

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// controlPlane is etcd, an API server and a controller manager on loopback
// addresses, with nothing in them.
type controlPlane struct {
	dir, address string
	// admin may do everything.
	admin *kubernetes.Clientset
	// startAPI starts the API server, and stopAPI ends the one that runs.
	startAPI, stopAPI func()
}

// startTime is how long the control plane may take until it answers.
const startTime = 2 * time.Minute

func startControlPlane(t *testing.T) *controlPlane {
	t.Helper()

	bin := os.Getenv("ANTLER_CONTROLPLANE")
	require.NotEmpty(t, bin, "ANTLER_CONTROLPLANE: is not set: run `make test-provisioner`")

	c := &controlPlane{dir: t.TempDir()}
	ports := freePorts(t, 4)
	etcd, peer := loopback(ports[0]), loopback(ports[1])
	c.address = "https://" + loopback(ports[2])

	c.writeKeys(t)
	c.run(t, filepath.Join(bin, "etcd"), "--data-dir="+filepath.Join(c.dir, "etcd"),
		"--listen-client-urls=http://"+etcd, "--advertise-client-urls=http://"+etcd,
		"--listen-peer-urls=http://"+peer, "--initial-advertise-peer-urls=http://"+peer, "--initial-cluster=default=http://"+peer)
	c.startAPI = func() {
		c.stopAPI = c.run(t, filepath.Join(bin, "kube-apiserver"), "--etcd-servers=http://"+etcd,
			"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[2]), "--cert-dir="+filepath.Join(c.dir, "certs"),
			"--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/24", "--authorization-mode=RBAC",
			"--token-auth-file="+filepath.Join(c.dir, "tokens.csv"), "--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file="+filepath.Join(c.dir, "key.pem"), "--service-account-signing-key-file="+filepath.Join(c.dir, "key.pem"))
	}
	c.startAPI()

	c.admin = c.client(t, adminToken)
	c.awaitReady(t)

	// The limits are higher than the usual ones, so that a storm measures us.
	c.run(t, filepath.Join(bin, "kube-controller-manager"), "--kubeconfig="+c.kubeconfig(t, "manager", adminToken),
		"--leader-elect=false", "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[3]),
		"--kube-api-qps=200", "--kube-api-burst=400",
		"--controllers=persistentvolume-binder-controller,persistentvolume-expander-controller,"+
			"persistentvolumeclaim-protection-controller,persistentvolume-protection-controller")

	return c
}

const adminToken = "the-test-is-an-administrator"

func (c *controlPlane) writeKeys(t *testing.T) {
	t.Helper()

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)

	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "key.pem"), block, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "tokens.csv"), []byte(adminToken+",admin,admin,system:masters\n"), 0o600))
}

// run starts a program that ends with the test at the latest, and dies with it.
// What it returns ends it.
func (c *controlPlane) run(t *testing.T, program string, args ...string) (stop func()) {
	t.Helper()

	name := filepath.Base(program)

	log, err := os.Create(filepath.Join(c.dir, name+".log"))
	require.NoError(t, err)

	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())

	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})

	t.Cleanup(func() {
		stop()

		if t.Failed() {
			t.Logf("the end of %s's log:\n%s", name, tail(log.Name()))
		}
	})

	return stop
}

func tail(path string) string {
	const most = 4 << 10

	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}

	return string(content[max(0, len(content)-most):])
}

func (c *controlPlane) awaitReady(t *testing.T) {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()

	await(ctx, t, "the API server is ready", func() error {
		_, err := c.admin.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)

		return err
	})
}

// kubeconfig writes one for a token.
func (c *controlPlane) kubeconfig(t *testing.T, name, token string) string {
	t.Helper()

	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: c.address, CertificateAuthority: filepath.Join(c.dir, "certs", "apiserver.crt")}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: name}
	config.CurrentContext = "test"

	path := filepath.Join(c.dir, name+".kubeconfig")
	require.NoError(t, clientcmd.WriteToFile(*config, path))

	return path
}

func (c *controlPlane) client(t *testing.T, token string) *kubernetes.Clientset {
	t.Helper()

	// The API server makes its certificate when it starts.
	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()

	await(ctx, t, "the API server has a certificate", func() error {
		_, err := os.Stat(filepath.Join(c.dir, "certs", "apiserver.crt"))

		return err
	})

	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig(t, "admin", token))
	require.NoError(t, err)

	config.QPS, config.Burst = 1000, 1000

	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)

	return client
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func freePorts(t *testing.T, n int) []int {
	t.Helper()

	var out []int

	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)

		defer listener.Close()

		out = append(out, listener.Addr().(*net.TCPAddr).Port)
	}

	return out
}

// await asks until there is no error, and fails with the last one.
func await(ctx context.Context, t *testing.T, what string, ask func() error) {
	t.Helper()

	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()

	for {
		err := ask()
		if err == nil {
			return
		}

		select {
		case <-ctx.Done():
			require.NoError(t, err, "waited in vain until "+what)
		case <-ticker.C:
		}
	}
}
