package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/credentials"

	"antler/services/node/config"
)

// transport is the handshake of all listeners: the kernel's word on a unix
// socket, mTLS on everything else.
type transport struct {
	credentials.TransportCredentials
}

// newTransport returns the handshake with this node's certificate. Clients must
// have one of the same CA.
func newTransport(pki config.PKI) (credentials.TransportCredentials, error) {
	pair, pool, err := pki.TLSCertificate()
	if err != nil {
		return nil, err
	}

	return transport{credentials.NewTLS(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool,
	})}, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (t transport) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return t.TransportCredentials.ServerHandshake(conn)
	}

	info, err := peerCredentials(local)

	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (t transport) Clone() credentials.TransportCredentials {
	return transport{t.TransportCredentials.Clone()}
}

func peerCredentials(conn *net.UnixConn) (credentials.AuthInfo, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("ask who is at the unix socket: %w", err)
	}

	var (
		ucred  *unix.Ucred
		inside error
	)

	err = raw.Control(func(fd uintptr) {
		ucred, inside = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, inside); err != nil {
		return nil, fmt.Errorf("ask who is at the unix socket: %w", err)
	}

	return PeerCredentials{
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
		UID:            ucred.Uid,
	}, nil
}

// ListenTCP listens on all addresses: the API must answer before and after any
// address comes and goes.
func ListenTCP(ctx context.Context, port int) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("listen for the API: %w", err)
	}

	return listener, nil
}

// ListenUnix listens on a socket that only its owner can open. One left behind
// by an antlerd that was killed is removed.
func ListenUnix(ctx context.Context, path string) (net.Listener, error) {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}

	err = os.Remove(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}

	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}

	// Who connects before this is turned away by its uid.
	err = os.Chmod(path, 0o600)
	if err != nil {
		listener.Close()

		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}

	return listener, nil
}

// ListenVsock listens for the host of a virtual machine, and for the machine
// itself. Where there is no vsock the error is errors.ErrUnsupported: go on
// without.
func ListenVsock(port uint32) (net.Listener, error) {
	listener, err := vsock.ListenContextID(unix.VMADDR_CID_ANY, port, nil)
	if err == nil {
		return listener, nil
	}

	for _, missing := range []error{unix.EAFNOSUPPORT, unix.ENODEV, unix.ENOENT, unix.EADDRNOTAVAIL, fs.ErrNotExist} {
		if errors.Is(err, missing) {
			return nil, fmt.Errorf("listen on vsock: %w: %w", errors.ErrUnsupported, err)
		}
	}

	return nil, fmt.Errorf("listen on vsock port %d: %w", port, err)
}
