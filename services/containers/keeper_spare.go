package containers

import (
	"context"
	"fmt"
	"time"
)

// spareDelay is how long after a start or a stop the next spare is made: what
// has just started, here or on another node, has better use for the processor.
const spareDelay = 5 * time.Second

// untilSpare is when the container's spare is due, or what is left of the last
// one to be deleted; 0 if neither is.
func (k *keeper) untilSpare(want *ContainerSpecSpec) time.Duration {
	due := want != nil && want.Spare && k.spare != Digest(*want) && (k.task != nil || want.Stopped)
	if !due && !k.leftover {
		return 0
	}

	return max(spareDelay-time.Since(k.since), time.Millisecond)
}

// prepare deletes what is left of the last container and makes the spare, if one
// is wanted, when that is due.
func (k *keeper) prepare(ctx context.Context, want ContainerSpecSpec) error {
	if time.Since(k.since) < spareDelay {
		return nil
	}

	if k.leftover {
		err := k.delete(ctx)
		if err != nil {
			return err
		}
	}

	if !want.Spare {
		return nil
	}

	digest := Digest(want)
	if k.spare == digest {
		return nil
	}

	ctx, cancel := k.call(ctx)
	defer cancel()

	err := k.runtime.Prepare(ctx, k.name, want)
	if err != nil {
		return fmt.Errorf("prepare container %q: %w", k.name, err)
	}

	k.spare = digest

	return nil
}

func (k *keeper) removeSpare(ctx context.Context) error {
	ctx, cancel := k.call(ctx)
	defer cancel()

	k.spare = ""

	err := k.runtime.RemoveSpare(ctx, k.name)
	if err != nil {
		return fmt.Errorf("remove the spare of container %q: %w", k.name, err)
	}

	return nil
}

// delete what is left of the container that was removed.
func (k *keeper) delete(ctx context.Context) error {
	ctx, cancel := k.call(ctx)
	defer cancel()

	err := k.runtime.Delete(ctx, k.name)
	if err != nil {
		return fmt.Errorf("delete container %q: %w", k.name, err)
	}

	k.leftover = false

	return nil
}
