package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/vsock"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"antler/services/node/config"
)

const (
	// dialWait is what a node gets to answer before the next is tried. Twice the
	// second after which TCP sends again what was lost.
	dialWait = 2 * time.Second
	// callWait is the default of --timeout.
	callWait = 30 * time.Second
)

// session is a connection to a node that has answered.
type session struct {
	*grpc.ClientConn
}

// end closes the connection. What could go wrong by then is nobody's business.
func (s *session) end() { _ = s.Close() }

// connect returns a connection to the first node that answers.
func (a *app) connect(ctx context.Context) (context.Context, *session, error) {
	path, err := a.configPath()
	if err != nil {
		return ctx, nil, err
	}

	if path == "" {
		return a.connectLocal(ctx)
	}

	client, err := config.LoadClient(path)
	if err != nil {
		return ctx, nil, err
	}

	endpoints, err := a.endpoints(client)
	if err != nil {
		return ctx, nil, err
	}

	pair, pool, err := client.TLSCertificate()
	if err != nil {
		return ctx, nil, fmt.Errorf("client configuration %s: %w", path, err)
	}

	if end := pair.Leaf.NotAfter; a.Now().After(end) {
		return ctx, nil, fmt.Errorf("client configuration %s: its certificate ended on %s: make a new one with `antlerctl gen config` or `antlerctl gen cert`",
			path, end.UTC().Format(time.DateOnly))
	}

	var failures []string

	for _, endpoint := range endpoints {
		conn, err := probe(ctx, endpoint, credentials.NewTLS(&tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{pair},
			RootCAs:      pool,
			// Behind a forwarded port a node still is who its certificate says.
			ServerName: endpoint.Node,
		}))
		if err == nil {
			return ctx, &session{conn}, nil
		}

		failures = append(failures, fmt.Sprintf("\n  %s at %s: %v", endpoint.Node, endpoint.Address, err))

		if ctx.Err() != nil {
			return ctx, nil, tooLate(ctx, client.Cluster, failures)
		}
	}

	return ctx, nil, reasonError{
		fmt.Errorf("no node of cluster %s answers:%s\nAre they on, and can this machine reach them?", client.Cluster, strings.Join(failures, "")),
		codes.Unavailable, "NO_NODE_ANSWERS",
	}
}

// tooLate is the end of a context while nodes were still being tried. Ctrl-C stays
// what it is.
func tooLate(ctx context.Context, cluster string, failures []string) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}

	return reasonError{
		fmt.Errorf("no node of cluster %s has answered in time:%s\nTry again, or give it longer with --timeout", cluster, strings.Join(failures, "")),
		codes.DeadlineExceeded, "NO_NODE_ANSWERS",
	}
}

// connectLocal asks the node that this runs on, which passes a question for
// another node on.
func (a *app) connectLocal(ctx context.Context) (context.Context, *session, error) {
	_, err := os.Stat(config.APISocket)
	if err != nil {
		return ctx, nil, reasonError{
			errors.New("no client configuration: give one with --config or $ANTLERCONFIG, or put it at ~/.antler/config.yaml (`antlerctl gen config` makes admin.yaml)"),
			codes.FailedPrecondition, "NO_CONFIGURATION",
		}
	}

	conn, err := probe(ctx, config.Endpoint{Address: unixScheme + config.APISocket}, insecure.NewCredentials())
	if err != nil {
		return ctx, nil, fmt.Errorf("ask this node over %s: %w: is antlerd running, and are you root?", config.APISocket, err)
	}

	return passedOn(ctx, a.node), &session{conn}, nil
}

// probe connects and makes sure that the other end answers.
func probe(ctx context.Context, endpoint config.Endpoint, creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	target, dialer := dialed(endpoint)

	conn, err := grpc.NewClient(target, append(dialer,
		grpc.WithTransportCredentials(creds),
		// A node is reached as its address says, and by no way round.
		grpc.WithNoProxy(),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}))...)
	if err != nil {
		return nil, err
	}

	wait, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()

	_, err = healthv1.NewHealthClient(conn).Check(wait, &healthv1.HealthCheckRequest{})
	if err == nil {
		return conn, nil
	}

	_ = conn.Close()

	if ctx.Err() != nil {
		return nil, errors.New("no answer yet")
	}

	if wait.Err() != nil {
		return nil, fmt.Errorf("no answer within %s", dialWait)
	}

	return nil, errors.New(transportReason(status.Convert(err).Message()))
}

// unixScheme begins the address of the unix socket.
const unixScheme = "unix:"

// dialed is the endpoint as gRPC's target, and what it needs besides to reach it: it
// knows unix sockets, and no vsock.
func dialed(endpoint config.Endpoint) (target string, dialer []grpc.DialOption) {
	if strings.HasPrefix(endpoint.Address, unixScheme) {
		return endpoint.Address, nil
	}

	target = "passthrough:///" + endpoint.Address

	cid, port, is, err := endpoint.Vsock()
	if !is {
		return target, nil
	}

	return target, []grpc.DialOption{grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
		if err != nil {
			return nil, err
		}

		// The kernel gives up after two seconds.
		return vsock.Dial(cid, port, nil)
	})}
}

// transportReason is the last of gRPC's nested descriptions of what went wrong.
func transportReason(message string) string {
	const begin = `desc = "`
	if i := strings.LastIndex(message, begin); i >= 0 {
		message = strings.TrimSuffix(message[i+len(begin):], `"`)
	}

	return strings.TrimPrefix(message, "transport: ")
}

func (a *app) endpoints(client *config.Client) ([]config.Endpoint, error) {
	if a.node == "" {
		return client.Endpoints, nil
	}

	var names []string

	for _, endpoint := range client.Endpoints {
		if endpoint.Node == a.node {
			return []config.Endpoint{endpoint}, nil
		}

		names = append(names, endpoint.Node)
	}

	return nil, usageError{fmt.Errorf("no node is called %q: name one of %s", a.node, strings.Join(names, ", "))}
}

// configPath is the client configuration to use; "" means the unix socket.
func (a *app) configPath() (string, error) {
	for _, path := range []string{a.config, a.Getenv("ANTLERCONFIG")} {
		if path != "" {
			return path, nil
		}
	}

	home := a.Getenv("HOME")
	if home == "" {
		return "", nil
	}

	path := filepath.Join(home, ".antler", "config.yaml")

	_, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}

	return path, err
}

func (a *app) completeNodes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	path, err := a.configPath()
	if err != nil || path == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}

	client, err := config.LoadClient(path)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}

	var names []string

	for _, endpoint := range client.Endpoints {
		names = append(names, endpoint.Node)
	}

	slices.Sort(names)

	return names, cobra.ShellCompDirectiveNoFileComp
}

// deadline is ctx with --timeout, or with the default where that is not 0.
func (a *app) deadline(ctx context.Context, byDefault time.Duration) (context.Context, context.CancelFunc) {
	switch {
	case a.timeout > 0:
		return context.WithTimeout(ctx, a.timeout)
	case byDefault > 0:
		return context.WithTimeout(ctx, byDefault)
	default:
		return context.WithCancel(ctx)
	}
}
