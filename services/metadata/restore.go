package metadata

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"antler/services/containers"
	"antler/services/metadata/files"
	"antler/services/node/config"
)

// StagePath is where a restore gathers what it will start from, before anything
// else is touched.
const StagePath = config.StateDir + "/restore"

// HostPlaces are the places of this node that may hold metadata.
func HostPlaces(node string, backup config.Backup) files.Places {
	places := files.Places{
		Node: node, Data: DataPath, SavedIn: config.MetadataPath,
		Metalogger: filepath.Join(config.StateDir, "metalogger"), Backups: []string{config.DefaultBackupDir},
	}

	if dir := backup.Dir(); dir != config.DefaultBackupDir {
		places.Backups = append(places.Backups, dir)
	}

	return places
}

// HostAside saves the metadata of this node's replica where it can't be mounted.
func HostAside(node, device string) *Aside {
	return &Aside{
		Device: device, Data: strings.TrimPrefix(DataPath, config.MetadataPath),
		Scratch: filepath.Join(config.StateDir, "aside"), Backups: config.DefaultBackupDir, Node: node,
	}
}

// Install implements Disk.
func (HostDisk) Install(want files.Stored) error {
	err := files.Install(StagePath, DataPath, want)
	if err != nil {
		return err
	}

	return filepath.WalkDir(DataPath, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}

		return os.Lchown(path, containers.MFSUser, containers.MFSUser)
	})
}
