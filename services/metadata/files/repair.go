package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// CutTornChange removes what a power cut left after the last whole line of the
// changelogs in dir, and returns how many bytes that were. mfsmaster would append
// to it: the torn line and the next one would become one that nobody can read.
// What is removed was told to no client, in the safe mode: see the package's page.
func CutTornChange(dir string) (int64, error) {
	logs, err := filepath.Glob(filepath.Join(dir, "changelog.*.mfs"))
	if err != nil {
		return 0, fmt.Errorf("look for changelogs in %s: %w", dir, err)
	}

	var total int64

	for _, log := range logs {
		cut, err := cutTornEnd(log)
		if err != nil {
			return total, fmt.Errorf("cut the torn end off changelog %s: %w", log, err)
		}

		total += cut
	}

	return total, nil
}

func cutTornEnd(path string) (int64, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer file.Close()

	info, err := file.Stat()
	if err != nil {
		return 0, err
	}

	tail := make([]byte, min(info.Size(), tailSize))

	_, err = file.ReadAt(tail, info.Size()-int64(len(tail)))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}

	torn := int64(len(tail) - 1 - bytes.LastIndexByte(tail, '\n'))
	if torn == 0 {
		return 0, nil
	}

	// 64 KiB without the end of a line is no changelog.
	if torn == tailSize {
		return 0, errors.New("it has no lines: it is damaged, and needs a person")
	}

	err = file.Truncate(info.Size() - torn)
	if err != nil {
		return 0, err
	}

	return torn, file.Sync()
}
