package containers

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Digest tells specs apart that need different processes. It is the same in
// every antlerd that knows the same fields, and fields that are not set don't
// count: an upgrade that adds a field restarts nothing. Generation, and how a
// process is stopped or supervised, are no part of what runs and left out.
func Digest(spec ContainerSpecSpec) string {
	type file struct {
		Content string
		World   bool `json:",omitempty"`
		Owner   int  `json:",omitempty"`
	}

	files := make(map[string]file, len(spec.Files))
	for name, f := range spec.Files {
		files[name] = file(f)
	}

	text, err := json.Marshal(struct {
		Args         []string
		Files        map[string]file `json:",omitempty"`
		Mounts       []Mount         `json:",omitempty"`
		Fuse         bool            `json:",omitempty"`
		Capabilities []string        `json:",omitempty"`
		OOMScoreAdj  int             `json:",omitempty"`
		OpenFiles    uint64          `json:",omitempty"`
		Nice         int             `json:",omitempty"`
		TimerSlack   time.Duration   `json:",omitempty"`
	}{
		spec.Args, files, spec.Mounts, spec.Fuse, spec.Capabilities, spec.OOMScoreAdj, spec.OpenFiles,
		spec.Nice, spec.TimerSlack,
	})
	if err != nil {
		// Strings, numbers and booleans always marshal.
		panic(fmt.Sprintf("marshal a container spec: %v", err))
	}

	sum := sha256.Sum256(text)

	return hex.EncodeToString(sum[:])
}
