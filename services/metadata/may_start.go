package metadata

import (
	"errors"
	"fmt"

	"antler/services/metadata/files"
)

// mayStart says why stored must not be started against the quorum's record, or
// nil. Older metadata makes mfsmaster delete the chunks it doesn't know.
func mayStart(stored files.Stored, spec MasterSpecSpec) error {
	switch {
	case stored.Version == 0 && !stored.New:
		return errors.New("there is no metadata that could be loaded: `antlerctl metadata sources` shows what other places hold")
	case spec.MetadataID != 0 && stored.ID != 0 && stored.ID != spec.MetadataID:
		return fmt.Errorf("the metadata here is another file system's (id %016X, the cluster served %016X): it is not started: `antlerctl metadata sources` shows what other places hold", stored.ID, spec.MetadataID)
	case stored.Version < spec.MinMetaVersion:
		return fmt.Errorf("the metadata here ends at version %d, the cluster has served version %d: starting it would destroy newer data: `antlerctl metadata sources` shows what other places hold", stored.Version, spec.MinMetaVersion)
	}

	return nil
}
