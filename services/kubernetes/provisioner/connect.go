package provisioner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Requests to the API server per second, on average and at once: a claim takes
// five, and its own fairness settings decide when it is busy. The limit is there
// for a fault of ours.
const (
	requestsPerSecond = 300
	requestsAtOnce    = 500
)

// protobuf costs a small node less than JSON.
const protobuf = "application/vnd.kubernetes.protobuf"

// Load reads a kubeconfig. What would run a program on the node, or send
// credentials to somebody unknown, is refused.
func Load(path string) (*rest.Config, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("kubeconfig %s: is not there: put one there with the rights in deploy/kubernetes", path)
	}

	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: path}, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w: write a new one", path, err)
	}

	switch {
	case config.ExecProvider != nil:
		return nil, fmt.Errorf("kubeconfig %s: users[].user.exec: would run %.100q on this node: use a client certificate or a token", path, config.ExecProvider.Command)
	case config.AuthProvider != nil:
		return nil, fmt.Errorf("kubeconfig %s: users[].user.auth-provider: %.100q is not supported: use a client certificate or a token", path, config.AuthProvider.Name)
	case config.Insecure:
		return nil, fmt.Errorf("kubeconfig %s: clusters[].cluster.insecure-skip-tls-verify: would give the credentials to anybody: write certificate-authority-data instead", path)
	}

	config.QPS, config.Burst = requestsPerSecond, requestsAtOnce
	config.ContentType, config.AcceptContentTypes = protobuf, protobuf+",application/json"

	return config, nil
}

// Connect returns clients that change nothing once serving returns an error.
func Connect(config *rest.Config, serving func() error) (Clients, error) {
	fenced := rest.CopyConfig(config)
	fenced.Wrap(func(next http.RoundTripper) http.RoundTripper { return fence{next, serving} })

	return newClients(fenced)
}

// fence keeps a request that would change something from leaving this node when
// another one may be serving.
type fence struct {
	next    http.RoundTripper
	serving func() error
}

// RoundTrip implements http.RoundTripper.
func (f fence) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		if err := f.serving(); err != nil {
			if r.Body != nil {
				_ = r.Body.Close()
			}

			return nil, fmt.Errorf("this node doesn't serve now: %w", err)
		}
	}

	return f.next.RoundTrip(r)
}

// answerTime is how long the API server may take for a single answer.
const answerTime = 10 * time.Second

// Check asks whether the API server answers and lets the provisioner see what it
// has to: one entry of each kind is enough.
func (c Clients) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()

	one := metav1.ListOptions{Limit: 1}

	_, err := c.Claims(metav1.NamespaceAll).List(ctx, one)
	if err == nil {
		_, err = c.Volumes.List(ctx, one)
	}

	if err == nil {
		_, err = c.Classes.List(ctx, one)
	}

	return err
}
