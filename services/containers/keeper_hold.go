package containers

import (
	"context"
	"fmt"

	"go.uber.org/zap"
)

// hold reports a container that was found running, and begins to act only when
// it is told what is wanted.
func (k *keeper) hold(ctx context.Context) {
	for ctx.Err() == nil && k.holding() {
		if !k.known {
			err := k.adopt(ctx)
			k.turned(err)

			if err != nil {
				k.wait(ctx, k.retry.next())

				continue
			}

			// Nobody has missed what ended before antlerd started.
			k.update(func(s *ContainerStatusSpec) { s.Standby = !s.Running })
		}

		k.wait(ctx, 0)
	}

	k.run(ctx)
}

func (k *keeper) holding() bool {
	k.mu.Lock()
	defer k.mu.Unlock()

	return !k.told
}

// look at what runs, if that isn't known.
func (k *keeper) look(ctx context.Context) error {
	if k.known {
		return nil
	}

	return k.adopt(ctx)
}

func (k *keeper) adopt(ctx context.Context) error {
	ctx, cancel := k.call(ctx)
	defer cancel()

	task, err := k.runtime.Find(ctx, k.name)
	if err != nil {
		return fmt.Errorf("look for container %q: %w", k.name, err)
	}

	k.known = true

	if task != nil {
		k.logger.Info("adopted a running process", zap.Int("pid", task.PID))
		k.running(task, true)
	}

	k.update(func(s *ContainerStatusSpec) { s.Unknown = false })

	return nil
}
