package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"antler/services/containers"
	"antler/services/node"
	"antler/services/node/config"
	"antler/services/talos"
)

// platform is what differs between the systems that antlerd runs on.
type platform struct {
	// helper is what the kernel executes as DRBD's handler.
	helper string
	places containers.Places
	loader node.Loader
	// taken says which devices the system keeps for itself; nil where none are known of.
	taken func(path string) string
}

// The platforms there are, as --platform names them.
const (
	onAppliance = "appliance"
	onTalos     = "talos"
)

const sysModule = "/sys/module"

func platformOf(name string) (platform, error) {
	switch name {
	case onAppliance:
		return platform{helper: "/usr/bin/antler-fence", places: containers.DefaultPlaces(config.RunDir), loader: node.Modprobe{}}, nil
	case onTalos:
		builtin, err := modulesBuiltin()
		if err != nil {
			return platform{}, err
		}

		// A list that can't be read keeps no node from starting.
		taken, err := talos.ReadTaken(talos.TakenPath)
		if err != nil {
			fmt.Fprintln(os.Stderr, "antlerd: a device of Talos's is refused only by what is on it:", err)
		}

		loader := node.Resident{SysModule: sysModule, Builtin: builtin, OnDemand: []string{"tcp_diag", "vsock"}}

		return platform{helper: talos.Helper, places: talos.Places(), loader: loader, taken: taken.By}, nil
	}

	return platform{}, fmt.Errorf("platform %q is not known: use %s or %s", name, onAppliance, onTalos)
}

func modulesBuiltin() (string, error) {
	var name unix.Utsname

	err := unix.Uname(&name)
	if err != nil {
		return "", fmt.Errorf("ask for the kernel's release: %w", err)
	}

	return filepath.Join("/usr/lib/modules", unix.ByteSliceToString(name.Release[:]), "modules.builtin"), nil
}
