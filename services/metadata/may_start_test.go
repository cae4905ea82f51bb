package metadata

import (
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/metadata/files"
)

func TestMayStart(t *testing.T) {
	for name, test := range map[string]struct {
		stored files.Stored
		spec   MasterSpecSpec
		want   string
	}{
		"the first start":     {stored: files.Stored{New: true}},
		"as far as served":    {stored: files.Stored{Version: 50, ID: 7}, spec: MasterSpecSpec{MinMetaVersion: 50, MetadataID: 7}},
		"further than served": {stored: files.Stored{Version: 51, ID: 7}, spec: MasterSpecSpec{MinMetaVersion: 50, MetadataID: 7}},
		"no complete file yet names an id": {
			stored: files.Stored{New: true, Version: 50}, spec: MasterSpecSpec{MinMetaVersion: 50, MetadataID: 7},
		},
		"nothing there": {want: "no metadata"},
		"older than served": {
			stored: files.Stored{Version: 49, ID: 7}, spec: MasterSpecSpec{MinMetaVersion: 50, MetadataID: 7}, want: "ends at version 49",
		},
		"empty where something was served": {
			stored: files.Stored{New: true}, spec: MasterSpecSpec{MinMetaVersion: 50, MetadataID: 7}, want: "ends at version 0",
		},
		"another file system's": {
			stored: files.Stored{Version: 90, ID: 8}, spec: MasterSpecSpec{MinMetaVersion: 50, MetadataID: 7}, want: "another file system's",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := mayStart(test.stored, test.spec)
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}
