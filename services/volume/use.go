package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Use is what a node does with a volume.
type Use struct {
	// Alone: no other node may use it at the same time.
	Alone bool `json:"alone,omitempty"`
	// ReadOnly: nothing is written.
	ReadOnly bool      `json:"readOnly,omitempty"`
	Since    time.Time `json:"since"`
}

// Use records that a node uses the volume with this name and id. It is
// idempotent. ErrInUse says which node's use rules it out, ErrExists that this
// node uses it in another way.
func (s *Store) Use(ctx context.Context, name, id, node string, use Use) (Volume, error) {
	return s.update(ctx, fmt.Sprintf("use volume %.*s on %.100s", MaxName, name, node), name, id, func(r *record) (bool, error) {
		if have, ok := r.Uses[node]; ok {
			if have.Alone != use.Alone || have.ReadOnly != use.ReadOnly {
				return false, failf(ErrExists, "%s uses it in another way: end that use first", node)
			}

			return false, nil
		}

		for other, have := range r.Uses {
			if have.Alone || use.Alone {
				return false, failf(ErrInUse, "%s uses it since %s, and no two nodes may at the same time: wait until its pods there are gone; if %s is away for good see `antlerctl volume release`",
					other, have.Since.Format(time.RFC3339), other)
			}
		}

		if r.Uses == nil {
			r.Uses = map[string]Use{}
		}

		use.Since = s.opts.Now().UTC().Truncate(time.Second)
		r.Uses[node] = use

		return true, nil
	})
}

// EndUse records that a node doesn't use the volume any more; an empty name is
// every node. It is idempotent.
func (s *Store) EndUse(ctx context.Context, name, id, node string) (Volume, error) {
	return s.update(ctx, fmt.Sprintf("end the use of volume %.*s", MaxName, name), name, id, func(r *record) (bool, error) {
		before := len(r.Uses)

		maps.DeleteFunc(r.Uses, func(of string, _ Use) bool { return node == "" || of == node })

		return len(r.Uses) != before, nil
	})
}

// ReleaseUse ends the use of a node that is dead, if it still is when nobody else
// changes the volume: a node that is back may use it anew. It is idempotent.
func (s *Store) ReleaseUse(ctx context.Context, name, id, node string, dead func() bool) (released bool, err error) {
	_, err = s.update(ctx, fmt.Sprintf("end the use of volume %.*s on %.100s, which is dead", MaxName, name, node), name, id, func(r *record) (bool, error) {
		if _, used := r.Uses[node]; !used || !dead() {
			return false, nil
		}

		delete(r.Uses, node)

		released = true

		return true, nil
	})

	return released && err == nil, err
}

// Modification changes what may change while a volume is in use. What is zero or
// nil stays as it is.
type Modification struct {
	// Copies or StorageClass, not both; for what is written from now on.
	Copies       int
	StorageClass string
	TrashTime    *time.Duration
	// InodeLimit can be changed, not taken away.
	InodeLimit uint64
	// Labels are added, or replace those of the same name.
	Labels map[string]string
}

// Modify changes the volume with this name and id. It is idempotent.
func (s *Store) Modify(ctx context.Context, name, id string, m Modification) (Volume, error) {
	doing := fmt.Sprintf("modify volume %.*s", MaxName, name)

	return s.updateWith(ctx, doing, name, id, func(ctx context.Context, t *tree, r *record) error {
		spec := Spec{Name: r.Name, Size: r.Size, Copies: m.Copies, StorageClass: m.StorageClass, TrashTime: m.TrashTime, InodeLimit: m.InodeLimit}
		if m.Copies == 0 && m.StorageClass == "" {
			spec.Copies = r.Copies

			if spec.Copies == 0 {
				spec.StorageClass = r.StorageClass
			}
		}

		if spec.TrashTime == nil {
			spec.TrashTime = new(time.Duration(r.TrashSeconds) * time.Second)
		}

		spec.Labels = maps.Clone(r.Labels)
		if spec.Labels == nil && len(m.Labels) > 0 {
			spec.Labels = map[string]string{}
		}

		maps.Copy(spec.Labels, m.Labels)

		want, err := spec.complete(s.opts.Defaults)
		if err != nil {
			return err
		}

		want.ID, want.Created, want.Asked, want.Source, want.Uses = r.ID, r.Created, r.Asked, r.Source, r.Uses

		want.AskedInodes, want.Adopted = r.AskedInodes, r.Adopted
		if m.InodeLimit == 0 {
			want.InodeLimit = r.InodeLimit
		}

		*r = want

		top, err := t.keep(t.volumes.sub(r.Name))
		if err != nil {
			return err
		}

		data, err := t.keep(top.sub(dataDir))
		if err != nil {
			return err
		}

		if err := s.fits(ctx, data, ErrPrecondition, m.InodeLimit); err != nil {
			return err
		}

		return s.configure(ctx, t, data.File, *r)
	})
}

// update changes the record of a volume, if f says that it has.
func (s *Store) update(ctx context.Context, doing, name, id string, f func(*record) (bool, error)) (Volume, error) {
	return s.updateWith(ctx, doing, name, id, func(_ context.Context, _ *tree, r *record) error {
		changed, err := f(r)
		if err == nil && !changed {
			return errUnchanged
		}

		return err
	})
}

// errUnchanged: the record needn't be written.
var errUnchanged = errors.New("unchanged")

func (s *Store) updateWith(ctx context.Context, doing, name, id string, f func(context.Context, *tree, *record) error) (Volume, error) {
	if err := CheckName(name); err != nil {
		return Volume{}, classify(doing, err)
	}

	return change(ctx, s, doing, func(ctx context.Context, t *tree) (Volume, error) {
		r, err := t.load(t.volumes, name, name)
		if err != nil {
			return Volume{}, err
		}

		if r.ID != id {
			return Volume{}, failf(ErrNotFound, "the volume called %s now is another one", name)
		}

		err = f(ctx, t, &r)
		if errors.Is(err, errUnchanged) {
			return r.volume(Quota{}), nil
		}

		if err != nil {
			return Volume{}, err
		}

		top, err := t.keep(t.volumes.sub(name))
		if err != nil {
			return Volume{}, err
		}

		mark, err := r.encode()
		if err != nil {
			return Volume{}, err
		}

		if err := s.opts.MayChange(); err != nil {
			return Volume{}, failf(ErrUnavailable, "this node doesn't serve any more: %w", err)
		}

		return r.volume(Quota{}), top.setMark(volumeMark, mark)
	})
}

// Users are the names of the nodes that use v, in order.
func (v Volume) Users() []string { return slices.Sorted(maps.Keys(v.Uses)) }

// UsersText is Users for a sentence.
func (v Volume) UsersText() string { return strings.Join(v.Users(), ", ") }
