package volume

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"
)

// Limits of a specification.
const (
	// MinSize and MaxSize of a volume in bytes. A quota is a promise, not an
	// allocation, so the largest is only what can't be a typing error: 1 EiB.
	MinSize = 1 << 20
	MaxSize = 1 << 60
	// MaxInodes is what MooseFS's quota can count to: 32 bits.
	MaxInodes = 1<<32 - 1
	// MaxCopies of a chunk that MooseFS can keep.
	MaxCopies = 9
	// MaxTrashTime is what MooseFS can store, 65535 hours.
	MaxTrashTime = 65535 * time.Hour
	// MaxKeep is how long a deleted volume can be kept, DefaultKeep how long it
	// is if nothing is said.
	MaxKeep     = 10 * 365 * 24 * time.Hour
	DefaultKeep = 7 * 24 * time.Hour
	// maxLabels and maxLabel bound what is stored in a volume's mark.
	maxLabels = 64
	maxLabel  = 1024
)

// Spec is what is asked for.
type Spec struct {
	Name string
	// Size in bytes, MinSize to MaxSize: the sum of the lengths of its files.
	Size uint64
	// InodeLimit is how many files, directories and links it may hold, at most
	// MaxInodes. 0 is no limit, or for a copy that of its source.
	InodeLimit uint64
	// Copies of each chunk on different nodes, 1 to MaxCopies. 0 is the
	// cluster's default. Not together with StorageClass.
	Copies int
	// StorageClass of MooseFS that exists. Empty: one for Copies.
	StorageClass string
	// TrashTime for which MooseFS keeps deleted files; it is rounded up to the
	// hour. Nil is the cluster's default.
	TrashTime *time.Duration
	// Labels are kept with the volume; they mean nothing here.
	Labels map[string]string
	// Source is what it is a copy of; the zero value: of nothing, it is empty.
	Source Source
}

// Source is a volume or a snapshot, by its name and id; one of the two names is
// set.
type Source struct {
	Volume   string `json:"volume,omitempty"`
	Snapshot string `json:"snapshot,omitempty"`
	ID       string `json:"id"`
}

// check refuses a source that can't be one: its name becomes part of a path.
func (s Source) check() error {
	if s == (Source{}) {
		return nil
	}

	if (s.Volume == "") == (s.Snapshot == "") || s.ID == "" {
		return failf(ErrInvalid, "a source is a volume or a snapshot, with its id")
	}

	return CheckName(s.Volume + s.Snapshot)
}

// Volume is a volume as it is.
type Volume struct {
	Name string
	// ID is a UUID that it keeps for life, also through the archive.
	ID string
	// Size and Used in bytes.
	Size, Used uint64
	// InodeLimit is 0 where there is none. UsedInodes counts against it.
	InodeLimit, UsedInodes uint64
	// Copies is 0 where the storage class was named.
	Copies       int
	StorageClass string
	TrashTime    time.Duration
	Labels       map[string]string
	Created      time.Time
	Source       Source
	// Uses are the nodes that use it.
	Uses map[string]Use
	// Path below the root of MooseFS, for mfsmount's mfssubfolder.
	Path string
}

// Archived is a deleted volume that can come back.
type Archived struct {
	// ID tells apart volumes that had the same name.
	ID               string
	Volume           Volume
	Deleted, Expires time.Time
}

// Defaults are what a Spec gets that says nothing.
type Defaults struct {
	Copies    int
	TrashTime time.Duration
}

// record is what stands in a volume's mark. Size changes with Expand, InodeLimit
// with Modify; Asked and AskedInodes are what it was created with.
type record struct {
	Version      int               `json:"version"`
	ID           string            `json:"id"`
	Name         string            `json:"name"`
	Created      time.Time         `json:"created"`
	Asked        uint64            `json:"asked"`
	Size         uint64            `json:"size"`
	AskedInodes  uint64            `json:"askedInodes,omitempty"`
	InodeLimit   uint64            `json:"inodeLimit,omitempty"`
	Copies       int               `json:"copies,omitempty"`
	StorageClass string            `json:"storageClass"`
	TrashSeconds int64             `json:"trashSeconds"`
	Labels       map[string]string `json:"labels,omitempty"`
	Source       Source            `json:"source,omitzero"`
	// Adopted is the path that its data had before they became this volume.
	Adopted string `json:"adopted,omitempty"`
	// Uses by the name of the node.
	Uses map[string]Use `json:"uses,omitempty"`
}

const recordVersion = 1

// complete checks spec and returns the record of the volume it asks for,
// without id and time.
func (spec Spec) complete(defaults Defaults) (record, error) {
	if err := CheckName(spec.Name); err != nil {
		return record{}, err
	}

	if spec.Size < MinSize || spec.Size > MaxSize {
		return record{}, failf(ErrInvalid, "size of %d bytes is outside %d..%d", spec.Size, MinSize, MaxSize)
	}

	if spec.InodeLimit > MaxInodes {
		return record{}, failf(ErrInvalid, "an inode limit of %d is more than %d", spec.InodeLimit, uint64(MaxInodes))
	}

	if err := spec.Source.check(); err != nil {
		return record{}, err
	}

	r := record{
		Version: recordVersion, Name: spec.Name, Asked: spec.Size, Size: spec.Size,
		AskedInodes: spec.InodeLimit, InodeLimit: spec.InodeLimit, Labels: spec.Labels, Source: spec.Source,
	}

	if err := r.setClass(spec, defaults); err != nil {
		return record{}, err
	}

	trash := defaults.TrashTime
	if spec.TrashTime != nil {
		trash = *spec.TrashTime
	}

	if trash < 0 || trash > MaxTrashTime {
		return record{}, failf(ErrInvalid, "trash time %s is outside 0..%s", trash, MaxTrashTime)
	}

	r.TrashSeconds = int64(roundUp(trash) / time.Second)

	return r, checkLabels(spec.Labels)
}

// setClass chooses the storage class.
func (r *record) setClass(spec Spec, defaults Defaults) error {
	if spec.StorageClass != "" {
		if spec.Copies != 0 {
			return failf(ErrInvalid, "give either copies or a storage class, not both")
		}

		r.StorageClass = spec.StorageClass

		return CheckClass(spec.StorageClass)
	}

	r.Copies = spec.Copies
	if r.Copies == 0 {
		r.Copies = defaults.Copies
	}

	if r.Copies < 1 || r.Copies > MaxCopies {
		return failf(ErrInvalid, "%d copies are outside 1..%d", r.Copies, MaxCopies)
	}

	r.StorageClass = ClassOf(r.Copies)

	return nil
}

// ClassOf returns the name of the storage class that keeps so many copies.
// MooseFS brings along those for two and three (storageclass.c, since 4.57); the
// others are made when they are needed.
func ClassOf(copies int) string {
	if copies == 2 || copies == 3 {
		return fmt.Sprintf("%dCP", copies)
	}

	return fmt.Sprintf("antler-%d", copies)
}

// CheckClass refuses what can't be an argument of MooseFS's tools: it must not
// be taken for an option.
func CheckClass(class string) error {
	if len(class) > 100 || strings.HasPrefix(class, "-") {
		return failf(ErrInvalid, "storage class %.100q can't be one", class)
	}

	for _, c := range []byte(class) {
		if c <= ' ' || c > '~' || c == '/' {
			return failf(ErrInvalid, "storage class %q has a character that can't be in one", class)
		}
	}

	return nil
}

func checkLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return failf(ErrInvalid, "%d labels are more than %d", len(labels), maxLabels)
	}

	for k, v := range labels {
		if len(k) == 0 || len(k)+len(v) > maxLabel {
			return failf(ErrInvalid, "label %.50q is empty or longer than %d bytes", k, maxLabel)
		}
	}

	return nil
}

// roundUp to the hour, in which MooseFS counts.
func roundUp(d time.Duration) time.Duration {
	return (d + time.Hour - 1).Truncate(time.Hour)
}

// differs says in what r, which exists, is not what want asks for; empty if it
// is. A volume that was expanded is still the one that was created.
func (r record) differs(want record) string {
	var out []string

	if want.Asked != r.Asked && want.Asked != r.Size {
		out = append(out, fmt.Sprintf("its size is %d bytes, not %d", r.Size, want.Asked))
	}

	if want.AskedInodes != r.AskedInodes && want.AskedInodes != r.InodeLimit {
		out = append(out, fmt.Sprintf("its inode limit is %d, not %d", r.InodeLimit, want.AskedInodes))
	}

	if want.StorageClass != r.StorageClass {
		out = append(out, fmt.Sprintf("its storage class is %s, not %s", r.StorageClass, want.StorageClass))
	}

	if want.TrashSeconds != r.TrashSeconds {
		out = append(out, fmt.Sprintf("its trash time is %d s, not %d s", r.TrashSeconds, want.TrashSeconds))
	}

	if !maps.Equal(want.Labels, r.Labels) {
		out = append(out, "its labels are others")
	}

	if want.Source != r.Source {
		out = append(out, "it is a copy of something else")
	}

	if want.Adopted != r.Adopted {
		out = append(out, fmt.Sprintf("it was made of %q, not of %q", r.Adopted, want.Adopted))
	}

	return strings.Join(out, ", ")
}

// volume returns r as the caller sees it, with what is used of q.
func (r record) volume(q Quota) Volume {
	return Volume{
		Name: r.Name, ID: r.ID, Size: r.Size, Used: q.Used, InodeLimit: r.InodeLimit, UsedInodes: q.UsedInodes,
		Copies: r.Copies, StorageClass: r.StorageClass,
		TrashTime: time.Duration(r.TrashSeconds) * time.Second,
		Labels:    r.Labels, Created: r.Created, Source: r.Source, Uses: r.Uses,
		Path: PathOf(r.Name),
	}
}

// PathOf is where the data of the volume called name is, below the root of
// MooseFS.
func PathOf(name string) string { return "/" + volumesDir + "/" + name + "/" + dataDir }

// encode returns the mark.
func (r record) encode() ([]byte, error) { return encode(r) }

func encode(mark any) ([]byte, error) { return json.Marshal(mark) }

func decode(mark []byte, into any) error {
	if err := json.Unmarshal(mark, into); err != nil {
		return failf(ErrPrecondition, "its mark can't be read: %w", err)
	}

	return nil
}

// parseRecord reads a mark and checks what later steps rely on.
func parseRecord(mark []byte) (record, error) {
	var r record

	if err := decode(mark, &r); err != nil {
		return record{}, err
	}

	if r.Version != recordVersion {
		return record{}, failf(ErrPrecondition, "its mark has version %d and this antlerd knows %d: upgrade antlerd", r.Version, recordVersion)
	}

	if err := CheckName(r.Name); err != nil {
		return record{}, failf(ErrPrecondition, "its mark is damaged: %w", err)
	}

	if r.ID == "" || r.Size < MinSize || r.Size > MaxSize {
		return record{}, failf(ErrPrecondition, "its mark has no id or an impossible size")
	}

	return r, nil
}
