package kubernetes

import (
	"context"
	"path/filepath"
	"sync/atomic"

	"go.uber.org/zap"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Registration tells kubelet of the driver: kubelet watches a directory for
// sockets, asks each what it is, and calls the driver's own socket from then on.
type Registration struct {
	registerapi.UnimplementedRegistrationServer

	// Kubelet is kubelet's directory.
	Kubelet string
	Logger  *zap.Logger

	// refused: kubelet has failed to take the driver, and will not try again before
	// it sees a new socket. One that has just started does: its node isn't known to
	// it yet.
	refused atomic.Bool
}

// SocketPath is where the driver listens for kubelet.
func SocketPath(kubelet string) string {
	return filepath.Join(kubelet, "plugins", DriverName, "csi.sock")
}

// RegistrationPath is the socket by which kubelet learns of the driver.
func RegistrationPath(kubelet string) string {
	return filepath.Join(kubelet, "plugins_registry", DriverName+"-reg.sock")
}

// GetInfo implements registerapi.RegistrationServer.
func (r *Registration) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type: registerapi.CSIPlugin, Name: DriverName, Endpoint: SocketPath(r.Kubelet), SupportedVersions: []string{"1.0.0"},
	}, nil
}

// NotifyRegistrationStatus implements registerapi.RegistrationServer.
func (r *Registration) NotifyRegistrationStatus(_ context.Context, s *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	if s.GetPluginRegistered() {
		r.Logger.Info("kubelet knows the driver", zap.String("driver", DriverName))
	} else {
		r.refused.Store(true)
		r.Logger.Error("kubelet refused the driver, it is asked again", zap.String("driver", DriverName), zap.String("reason", s.GetError()))
	}

	return &registerapi.RegistrationStatusResponse{}, nil
}
