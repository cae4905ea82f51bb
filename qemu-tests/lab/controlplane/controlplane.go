// Package controlplane runs a Kubernetes control plane on this machine's loopback
// addresses: etcd, an API server, a controller manager and a scheduler, with
// nothing in them. Virtual machines reach the API server at Gateway, by which
// QEMU's user-mode network means the host.
package controlplane

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Gateway is this machine, as virtual machines with user-mode networking see it.
const Gateway = "10.0.2.2"

// Options of a control plane. Bin and Dir must be set.
type Options struct {
	// Bin is the directory of the programs (scripts/build-controlplane), Dir where
	// everything is that they write.
	Bin, Dir string
	// Nodes whose kubelets may join, each with what NodeToken returns.
	Nodes []string
	// DialNode connects to a port of a node: the API server asks its kubelet for what it
	// doesn't know itself.
	DialNode func(ctx context.Context, node string, port int) (net.Conn, error)
}

// ControlPlane that runs. Close ends it.
type ControlPlane struct {
	Options

	// Admin may do everything.
	Admin *kubernetes.Clientset

	port, etcdPort int
	running        []*program
	api            *program
	nodes          *http.Server
}

// startTime is how long the control plane may take until it answers.
const startTime = 2 * time.Minute

// controllers are those that claims, pods and nodes need, and namespaces that come and go.
const controllers = "persistentvolume-binder-controller,persistentvolume-expander-controller," +
	"persistentvolumeclaim-protection-controller,persistentvolume-protection-controller,ephemeral-volume-controller," +
	"serviceaccount-controller,root-ca-certificate-publisher-controller,namespace-controller,garbage-collector-controller," +
	"node-lifecycle-controller,taint-eviction-controller,pod-garbage-collector-controller," +
	"statefulset-controller,replicaset-controller,deployment-controller"

// Start returns when the API server is ready. What was started before an error is
// ended.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	c := &ControlPlane{Options: options}

	if err := c.start(ctx); err != nil {
		err = fmt.Errorf("start a control plane: %w\n%s", err, c.Tails())
		c.Close()

		return nil, err
	}

	return c, nil
}

func (c *ControlPlane) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()

	ports, err := freePorts(5)
	if err != nil {
		return err
	}

	c.etcdPort, c.port = ports[0], ports[1]
	etcd, peer := "http://"+loopback(c.etcdPort), "http://"+loopback(ports[2])

	if err := c.writeKeys(); err != nil {
		return err
	}

	err = c.run("etcd", "--data-dir="+c.path("etcd"), "--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	if err != nil {
		return err
	}

	if err := c.serveNodes(); err != nil {
		return err
	}

	if err := c.StartAPI(); err != nil {
		return err
	}

	if err := c.connect(ctx); err != nil {
		return err
	}

	if err := c.AwaitReady(ctx); err != nil {
		return err
	}

	kubeconfig, err := c.Kubeconfig("manager", adminToken, Host)
	if err != nil {
		return err
	}

	path := c.path("manager.kubeconfig")
	if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
		return err
	}

	// The limits are higher than the usual ones, so that a storm measures us.
	err = c.run("kube-controller-manager", "--kubeconfig="+path, "--leader-elect=false", "--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", ports[3]), "--kube-api-qps=200", "--kube-api-burst=400", "--controllers="+controllers,
		"--root-ca-file="+c.path("certs/apiserver.crt"))
	if err != nil {
		return err
	}

	return c.run("kube-scheduler", "--kubeconfig="+path, "--leader-elect=false", "--bind-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", ports[4]))
}

// StartAPI starts the API server. AwaitReady waits until it answers.
func (c *ControlPlane) StartAPI() (err error) {
	// The advertised address is in the certificate that it makes for itself.
	c.api, err = startProgram(c.path("kube-apiserver.log"), c.Dir, filepath.Join(c.Bin, "kube-apiserver"),
		"--etcd-servers=http://"+loopback(c.etcdPort), "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", c.port),
		"--advertise-address="+Gateway, "--cert-dir="+c.path("certs"), "--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.96.0.0/24", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
		"--token-auth-file="+c.path("tokens.csv"), "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.path("key.pem"), "--service-account-signing-key-file="+c.path("key.pem"),
		"--egress-selector-config-file="+c.path("egress.yaml"))

	return err
}

// StopAPI ends the API server.
func (c *ControlPlane) StopAPI() { c.api.stop() }

// Close ends everything.
func (c *ControlPlane) Close() {
	if c.api != nil {
		c.api.stop()
	}

	for _, p := range c.running {
		p.stop()
	}

	if c.nodes != nil {
		_ = c.nodes.Close()
	}
}

// Tails returns the end of each program's log.
func (c *ControlPlane) Tails() string {
	logs, _ := filepath.Glob(c.path("*.log"))

	var b strings.Builder

	for _, log := range logs {
		fmt.Fprintf(&b, "--- the end of %s\n%s\n", log, tail(log))
	}

	return b.String()
}

func tail(path string) string {
	const most = 4 << 10

	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}

	return string(content[max(0, len(content)-most):])
}

func (c *ControlPlane) path(name string) string { return filepath.Join(c.Dir, name) }

const adminToken = "the-test-is-an-administrator"

// NodeToken is that of a node's kubelet.
func NodeToken(node string) string { return "the-kubelet-of-" + node }

func (c *ControlPlane) writeKeys() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}

	tokens := adminToken + ",admin,admin,system:masters\n"
	for _, node := range c.Nodes {
		tokens += fmt.Sprintf("%s,system:node:%s,%s,system:nodes\n", NodeToken(node), node, node)
	}

	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})

	return errors.Join(os.WriteFile(c.path("key.pem"), block, 0o600), os.WriteFile(c.path("tokens.csv"), []byte(tokens), 0o600))
}

func (c *ControlPlane) run(name string, args ...string) error {
	p, err := startProgram(c.path(name+".log"), c.Dir, filepath.Join(c.Bin, name), args...)
	if err == nil {
		c.running = append(c.running, p)
	}

	return err
}

// AwaitReady waits until the API server says that it is ready.
func (c *ControlPlane) AwaitReady(ctx context.Context) error {
	return Await(ctx, "the API server is ready", func() error {
		_, err := c.Admin.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)

		return err
	})
}

// Where a kubeconfig is used.
const (
	Host  = "127.0.0.1"
	Guest = Gateway
)

// Kubeconfig returns one for a token, to be used on this machine (Host) or in a
// virtual one (Guest). It refers to no other file.
func (c *ControlPlane) Kubeconfig(name, token, at string) ([]byte, error) {
	authority, err := os.ReadFile(c.path("certs/apiserver.crt"))
	if err != nil {
		return nil, err
	}

	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{
		Server: fmt.Sprintf("https://%s:%d", at, c.port), CertificateAuthorityData: authority, TLSServerName: "kubernetes.default.svc",
	}

	// The certificate names the address by which virtual machines call it.
	if at == Guest {
		config.Clusters["test"].TLSServerName = ""
	}

	config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: name}
	config.CurrentContext = "test"

	return clientcmd.Write(*config)
}

// AdminKubeconfig returns one with which this machine may do everything.
func (c *ControlPlane) AdminKubeconfig() ([]byte, error) {
	return c.Kubeconfig("admin", adminToken, Host)
}

func (c *ControlPlane) connect(ctx context.Context) error {
	var content []byte

	// The API server makes its certificate when it starts.
	err := Await(ctx, "the API server has a certificate", func() (err error) {
		content, err = c.AdminKubeconfig()

		return err
	})
	if err != nil {
		return err
	}

	config, err := clientcmd.RESTConfigFromKubeConfig(content)
	if err != nil {
		return err
	}

	config.QPS, config.Burst = 1000, 1000

	c.Admin, err = kubernetes.NewForConfig(config)

	return err
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func freePorts(n int) (out []int, err error) {
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()

		out = append(out, listener.Addr().(*net.TCPAddr).Port)
	}

	return out, nil
}

// pollInterval is between two questions to a server on this machine.
const pollInterval = 50 * time.Millisecond

// Await asks until there is no error, and returns the last one when ctx ends.
func Await(ctx context.Context, what string, ask func() error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()

	for {
		err := ask()
		if err == nil {
			return nil
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s: %w", what, err)
		case <-ticker.C:
		}
	}
}
