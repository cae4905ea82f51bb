package volume

import (
	"strings"
	"time"
)

// MaxName is the longest name in bytes: that of a DNS label, so that names can
// be host names, Kubernetes names and label values.
const MaxName = 63

// CheckName returns an error of kind ErrInvalid unless name is 1 to MaxName
// lower-case letters, digits, '-' and '.', begins and ends with a letter or
// digit, and has no two dots in a row. So it is one path component, never a
// hidden one, and nothing that a shell or a file system treats specially.
func CheckName(name string) error {
	switch {
	case name == "":
		return failf(ErrInvalid, "the volume needs a name")
	case len(name) > MaxName:
		return failf(ErrInvalid, "volume name %.20q... has %d bytes: choose one of at most %d", name, len(name), MaxName)
	}

	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '-' && c != '.' {
			return failf(ErrInvalid, "volume name %q: byte %d is not a lower-case letter, digit, '-' or '.'", name, i)
		}
	}

	switch {
	case !alphanumeric(name[0]) || !alphanumeric(name[len(name)-1]):
		return failf(ErrInvalid, "volume name %q must begin and end with a letter or digit", name)
	case strings.Contains(name, ".."):
		return failf(ErrInvalid, "volume name %q must not have two dots in a row", name)
	}

	return nil
}

func alphanumeric(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

// archiveTime is the form of times in names below .archive, in UTC.
const archiveTime = "20060102T150405Z"

// archiveID names a deleted volume: NAME@DELETED~EXPIRES. It is the name of its
// directory below .archive.
type archiveID struct {
	name             string
	deleted, expires time.Time
}

// String returns the form that parseArchiveID reads.
func (a archiveID) String() string {
	return a.name + "@" + a.deleted.UTC().Format(archiveTime) + "~" + a.expires.UTC().Format(archiveTime)
}

// parseArchiveID reads an archive id. It accepts only what String returns.
func parseArchiveID(text string) (archiveID, error) {
	name, times, _ := strings.Cut(text, "@")
	from, to, _ := strings.Cut(times, "~")

	if err := CheckName(name); err != nil {
		return archiveID{}, failf(ErrInvalid, "archive id %.200q: %w", text, err)
	}

	deleted, err := time.Parse(archiveTime, from)
	if err != nil {
		return archiveID{}, failf(ErrInvalid, "archive id %.200q has no time of deletion", text)
	}

	expires, err := time.Parse(archiveTime, to)
	if err != nil {
		return archiveID{}, failf(ErrInvalid, "archive id %.200q has no time of expiry", text)
	}

	id := archiveID{name: name, deleted: deleted, expires: expires}
	if id.String() != text {
		return archiveID{}, failf(ErrInvalid, "archive id %.200q is not in its usual form", text)
	}

	return id, nil
}
