package validate

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"strings"
)

// ModuleInfo is what a kernel module says about itself: the keys of modinfo(8),
// of which a key may have several values.
func ModuleInfo(module []byte) (map[string][]string, error) {
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, fmt.Errorf("read the module: %w", err)
	}
	section := file.Section(".modinfo")
	if section == nil {
		return nil, errors.New("read the module: it has no .modinfo: it is no kernel module")
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read the module: %w", err)
	}
	out := map[string][]string{}
	for line := range strings.SplitSeq(string(data), "\x00") {
		if key, value, found := strings.Cut(line, "="); found {
			out[key] = append(out[key], value)
		}
	}
	return out, nil
}

// KernelOf returns the release of the kernel that a module was built for.
func KernelOf(module []byte) (string, error) {
	info, err := ModuleInfo(module)
	if err != nil {
		return "", err
	}
	magic := strings.Fields(strings.Join(info["vermagic"], " "))
	if len(magic) == 0 {
		return "", errors.New("the module has no vermagic")
	}
	return magic[0], nil
}
