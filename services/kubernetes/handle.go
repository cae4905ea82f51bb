package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"antler/services/volume"
)

// DriverName is the driver's name in CSIDriver and StorageClass.
const DriverName = "moosefs.csi.antler"

// Handle names a volume or a snapshot for Kubernetes: NAME:ID.
type Handle struct {
	Name string
	// ID is a UUID in its usual form.
	ID string
}

// String returns the form that ParseHandle reads.
func (h Handle) String() string { return h.Name + ":" + h.ID }

// ParseHandle reads a handle. It accepts only what String returns for a name
// that a volume can have: never a path.
func ParseHandle(text string) (Handle, error) {
	name, id, found := strings.Cut(text, ":")
	if !found {
		return Handle{}, fmt.Errorf("handle %.200q is not of the form NAME:ID", text)
	}

	if err := volume.CheckName(name); err != nil {
		return Handle{}, fmt.Errorf("handle %.200q: %w", text, err)
	}

	parsed, err := uuid.Parse(id)
	if err != nil || parsed.String() != id {
		return Handle{}, fmt.Errorf("handle %.200q: what follows the ':' is not a UUID", text)
	}

	return Handle{Name: name, ID: id}, nil
}

// hashed begins the names that nameFor makes of names that a volume can't have.
const hashed = "csi-"

// hashLength in characters of hex: 160 bits, so that no two names meet.
const hashLength = 40

// nameFor returns the name of the volume or snapshot that CSI calls name: the
// same, unless that can't be one (CSI allows any 128 bytes).
func nameFor(name string) string {
	if volume.CheckName(name) == nil && !strings.HasPrefix(name, hashed) {
		return name
	}

	sum := sha256.Sum256([]byte(name))

	return hashed + hex.EncodeToString(sum[:])[:hashLength]
}
