package controlplane

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// dialTime is for a connection to a node.
const dialTime = 10 * time.Second

// serveNodes is the API server's way to the kubelets: addresses of virtual machines mean
// nothing on this one, so it asks for each connection at a unix socket, with a CONNECT
// (RFC 9110, 9.3.6).
func (c *ControlPlane) serveNodes() error {
	socket := c.path("nodes.sock")

	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}

	c.nodes = &http.Server{Handler: http.HandlerFunc(c.connectNode), ReadHeaderTimeout: dialTime}

	go func() { _ = c.nodes.Serve(listener) }()

	return os.WriteFile(c.path("egress.yaml"), fmt.Appendf(nil, `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport: {uds: {udsName: %q}}
`, socket), 0o600)
}

func (c *ControlPlane) connectNode(w http.ResponseWriter, r *http.Request) {
	node, service, err := net.SplitHostPort(r.Host)

	port, portErr := strconv.Atoi(service)
	if r.Method != http.MethodConnect || err != nil || portErr != nil || c.DialNode == nil {
		http.Error(w, "only CONNECT to a node's port is served", http.StatusBadRequest)

		return
	}

	there, err := c.DialNode(r.Context(), node, port)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)

		return
	}
	defer there.Close()

	here, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer here.Close()

	_, err = io.WriteString(here, "HTTP/1.1 200 Connected\r\n\r\n")
	if err != nil {
		return
	}

	// Either side's end is that of both.
	ended := make(chan struct{}, 2)
	carry := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from)
		ended <- struct{}{}
	}

	go carry(there, buffered)
	go carry(here, there)

	<-ended
}

// ServeFile lets virtual machines fetch a file, at Gateway and this port, until stop.
func ServeFile(path string) (port int, stop func(), err error) {
	listener, err := net.Listen("tcp", loopback(0))
	if err != nil {
		return 0, nil, err
	}

	server := &http.Server{ReadHeaderTimeout: dialTime, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, path)
	})}

	go func() { _ = server.Serve(listener) }()

	return listener.Addr().(*net.TCPAddr).Port, func() { _ = server.Close() }, nil
}
