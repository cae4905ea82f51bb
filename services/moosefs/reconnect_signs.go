package moosefs

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/address"
	"antler/services/authority"
	"antler/services/resources"
)

// sign says what speaks for a new master, if anything does, and since when a
// connection must have been silent to be one to the old.
func (c *Reconnector) sign(ctx context.Context, r controller.Reader, local *address.AddressStatusSpec, moved bool) (time.Time, string, error) {
	now := time.Now()

	err := c.noteEpoch(ctx, r, now)
	if err != nil {
		return now, "", err
	}

	since, text := now.Add(-freshly), "the address moved"

	if !moved {
		since, text, err = c.silentSign(ctx, r, local, since)
		if err != nil || text == "" {
			return now, "", err
		}
	}

	// A sign of the same move, and not of a later one.
	if c.looked.After(c.began) && now.Sub(c.looked) < settling {
		since = c.looked
	}

	// Those of one move arrive within moments of each other.
	if c.answered && now.Sub(c.looked) >= settling {
		c.signed, c.told = true, false
	}

	c.looked, c.answered = now, true

	return since, text, nil
}

// silentSign is one that this node has to find for itself.
func (c *Reconnector) silentSign(
	ctx context.Context, r controller.Reader, local *address.AddressStatusSpec, fresh time.Time,
) (time.Time, string, error) {
	if local != nil && c.epoch > 0 && local.Announced && local.Epoch > c.held {
		c.held = local.Epoch

		return fresh, "the address came to this node", nil
	}

	text, err := c.report(ctx, r)
	if c.began.Before(fresh) {
		fresh = c.began
	}

	return fresh, text, err
}

// noteEpoch keeps the current epoch. Those that are heard of while settling are
// of the past.
func (c *Reconnector) noteEpoch(ctx context.Context, r controller.Reader, now time.Time) error {
	record, err := resources.Spec[*authority.AuthorityStatus](ctx, r, authority.AuthorityStatusID)
	if err != nil || record == nil || record.Epoch <= c.epoch {
		return err
	}

	if c.epoch == 0 {
		c.heard = now
	}

	past := now.Sub(c.heard) < settling

	// Who hears of it after its first sign, be it long after, finds all connected.
	c.answered, c.signed = c.signed || past, false
	c.told, c.fresh = c.answered, !c.answered
	c.epoch, c.began = record.Epoch, now

	if past {
		c.held = c.epoch
	}

	return nil
}

// report is the third sign.
func (c *Reconnector) report(ctx context.Context, r controller.Reader) (string, error) {
	// After another sign it is no news.
	if c.epoch == 0 || c.answered {
		return "", nil
	}

	reports, err := safe.ReaderListAll[*authority.NodeReport](ctx, r)
	if err != nil {
		return "", fmt.Errorf("list the nodes' reports: %w", err)
	}

	for report := range reports.All() {
		master := report.TypedSpec().Report.Master
		if !master.Answering || master.Epoch != c.epoch {
			continue
		}

		return "node " + report.Metadata().ID() + " serves", nil
	}

	return "", nil
}

// moved reports whether the address is at another machine than before. While it is here
// the kernel may yet tell of who had it once, and afterwards must not believe that.
func (c *Reconnector) moved(floating netip.Addr, machine string, isHere bool, logger *zap.Logger) bool {
	if isHere && c.machine != here {
		c.machine = here

		err := c.Neighbours.Forget(floating)
		if err != nil {
			logger.Warn("forget who had the floating address", zap.Error(err))
		}
	}

	if isHere || machine == "" {
		return false
	}

	before := c.machine
	c.machine = machine

	return before != "" && before != machine
}
