package containers

import "context"

// hold reports a container that was found running, and begins to act only when
// it is told what is wanted.
func (k *keeper) hold(ctx context.Context) {
	for ctx.Err() == nil && k.holding() {
		if !k.known {
			err := k.adopt(ctx)
			if err != nil {
				k.update(func(s *ContainerStatusSpec) { s.Error = err.Error() })
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
