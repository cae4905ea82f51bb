package authority

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// identity is what a voter remembers about its store outside of it. It is
// written before anything that depends on it happens.
type identity struct {
	// Incarnation is the random number of this store, made once.
	Incarnation string `json:"incarnation"`
	// ClusterID is the cluster's for which the store was made.
	ClusterID string `json:"clusterID"`
	// Run is the number of the current run of antlerd. It grows with each, and
	// mostly is the Unix time of its start, so that it goes on growing should
	// the store be lost.
	Run uint64 `json:"run"`
	// Roster are the incarnations of all voters as this one took part in Raft
	// for the first time; nil before.
	Roster map[string]string `json:"roster,omitempty"`
}

const identityFile = "identity.json"

// loadIdentity reads the identity of the store in dir, or makes one if there
// never was a store, and counts the run.
func loadIdentity(dir, clusterID string, now time.Time) (identity, error) {
	id, err := readIdentity(dir)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = newIdentity(dir, clusterID)
	}

	if err != nil {
		return identity{}, err
	}

	if id.ClusterID != clusterID {
		return identity{}, fmt.Errorf("use the store in %s: it belongs to cluster %s, not to %s: wipe the state of the node, or give it the configuration of its cluster", dir, id.ClusterID, clusterID)
	}

	id.Run = max(id.Run+1, runAt(now))

	return id, id.save(dir)
}

// runAt is the number of a run that begins now, as far as the clock knows.
func runAt(now time.Time) uint64 { return uint64(max(now.Unix(), 1)) }

func newIdentity(dir, clusterID string) (identity, error) {
	if _, err := os.Lstat(filepath.Join(dir, logFile)); err == nil {
		return identity{}, fmt.Errorf("use the store in %s: %s is missing although there is a log: %s", dir, identityFile, replaceAdvice)
	}

	return identity{Incarnation: rand.Text(), ClusterID: clusterID}, nil
}

func readIdentity(dir string) (identity, error) {
	path := filepath.Join(dir, identityFile)

	raw, err := os.ReadFile(path)
	if err != nil {
		return identity{}, fmt.Errorf("read the store's identity: %w", err)
	}

	var id identity
	if err := json.Unmarshal(raw, &id); err != nil {
		return identity{}, fmt.Errorf("read the store's identity from %s: %w: %s", path, err, replaceAdvice)
	}

	if id.Incarnation == "" || id.Run == 0 {
		return identity{}, fmt.Errorf("read the store's identity from %s: it is incomplete: %s", path, replaceAdvice)
	}

	return id, nil
}

// save replaces the file so that a power cut leaves the old or the new one.
func (id identity) save(dir string) error {
	raw, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the store's identity: %w", err)
	}

	path := filepath.Join(dir, identityFile)
	if err := writeSynced(path+".new", raw); err != nil {
		return fmt.Errorf("write the store's identity: %w", err)
	}

	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the store's identity: %w", err)
	}

	return syncDir(dir)
}

func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}

	_, err = f.Write(content)

	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}

	return errors.Join(d.Sync(), d.Close())
}
