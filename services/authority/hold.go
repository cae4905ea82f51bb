package authority

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// endHold ends the hold that the last run of antlerd asked for before it was
// restarted, as soon as this run has a lease. After that it has nothing to do.
func (a *Authority) endHold(ctx context.Context) error {
	for {
		changed := a.Changed()

		var again <-chan time.Time

		if a.heldByEarlierRun() && a.LeaseValid() {
			if err := a.Hold(ctx, 0); err != nil {
				a.config.Logger.Info("the hold for the restart was not ended; the next grant waits longer than it must", zap.Error(err))

				again = time.After(a.config.Timing.RenewInterval)
			}
		}

		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again:
		}
	}
}

func (a *Authority) heldByEarlierRun() bool {
	a.mu.Lock()
	defer a.mu.Unlock()

	return a.holds() && a.record.HoldMS > 0 && a.record.HoldSeq>>32 < a.identity.Run
}
