package metadata

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"

	"antler/services/metadata/files"
)

const (
	// backupSettle is how long a node serves before it makes a backup: clients
	// that waited for it come first.
	backupSettle = 30 * time.Second
	// backupRetry is the pause after one that failed, if the next isn't due
	// before.
	backupRetry = 5 * time.Minute
	// backupPatience is what one may take. MooseFS itself saves as much in each
	// hour.
	backupPatience = 30 * time.Minute
	// backupHangs is when one that was told to end has not.
	backupHangs = backupPatience + time.Minute
)

// BackupController has backups made, each Every after the last, where the master
// serves and nowhere else.
type BackupController struct {
	Backups Backups
	Every   time.Duration
	Events  Events
	Now     func() time.Time
}

// Name implements controller.Controller.
func (*BackupController) Name() string { return "metadata.BackupController" }

// Inputs implements controller.Controller.
func (*BackupController) Inputs() []controller.Input {
	return []controller.Input{safe.Input[*MasterStatus](controller.InputWeak)}
}

// Outputs implements controller.Controller.
func (*BackupController) Outputs() []controller.Output {
	return []controller.Output{{Type: BackupStatusType, Kind: controller.OutputExclusive}}
}

// Run implements controller.Controller.
func (c *BackupController) Run(ctx context.Context, r controller.Runtime, logger *zap.Logger) error {
	b := &backups{BackupController: c, logger: logger, done: make(chan made, 1), timer: time.NewTimer(0)}
	defer b.timer.Stop()
	defer b.cancel()

	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-b.timer.C:
		case result := <-b.done:
			b.over(result)
		}

		master, err := Serving(ctx, r)
		if err != nil {
			return err
		}

		b.step(ctx, master)

		err = b.report(ctx, r)
		if err != nil {
			return err
		}

		r.ResetRestartBackoff()
	}
}

// backups is the state of one run of the controller.
type backups struct {
	*BackupController

	logger *zap.Logger
	timer  *time.Timer
	done   chan made
	// stop ends the attempt that is under way since begun; nil if there is none.
	stop  context.CancelFunc
	begun time.Time

	epoch   uint64
	serving bool
	status  BackupStatusSpec
}

// made is what an attempt came to.
type made struct {
	source files.Source
	begun  time.Time
	// given up because the master doesn't serve here any more.
	givenUp bool
	err     error
}

// step begins what is due, and ends what this node must not do any more. There is no
// master where none serves.
func (b *backups) step(ctx context.Context, master *MasterStatusSpec) {
	if master == nil {
		// The replica is about to be unmounted.
		b.cancel()
		b.serving, b.status.Next, b.status.Error = false, time.Time{}, ""

		return
	}

	b.epoch = master.Epoch

	if !b.serving {
		b.serving = true
		b.schedule()
	}

	now := b.Now()

	switch {
	case b.stop != nil && now.Sub(b.begun) >= backupHangs:
		b.fail(fmt.Errorf("the one that was begun at %s does not come to an end: is its directory on something that hangs?", b.begun.UTC().Format(time.RFC3339)))
	case b.stop != nil:
		b.timer.Reset(b.begun.Add(backupHangs).Sub(now))
	case now.Before(b.status.Next):
		b.timer.Reset(b.status.Next.Sub(now))
	default:
		b.begin(ctx, master.MetaVersion, now)
	}
}

// schedule the first backup of a node that begins to serve.
func (b *backups) schedule() {
	newest, err := b.Backups.Newest()

	b.status.Last = newest
	b.status.Next = b.Now().Add(backupSettle)

	if err != nil {
		b.status.Error = err.Error()

		return
	}

	// One from the future was made by a clock that was wrong.
	if due := newest.Add(b.Every); !newest.IsZero() && due.After(b.status.Next) && !newest.After(b.Now()) {
		b.status.Next = due
	}
}

func (b *backups) begin(ctx context.Context, version uint64, now time.Time) {
	ctx, b.stop = context.WithTimeout(ctx, backupPatience)
	b.begun = now
	b.timer.Reset(backupHangs)

	go func() {
		source, err := b.Backups.Make(ctx, version)
		b.done <- made{source: source, begun: now, givenUp: errors.Is(ctx.Err(), context.Canceled), err: err}
	}()
}

func (b *backups) cancel() {
	if b.stop != nil {
		b.stop()
	}
}

// over notes what came of an attempt.
func (b *backups) over(result made) {
	b.stop()
	b.stop = nil

	switch {
	case result.err == nil:
		b.status = BackupStatusSpec{Last: result.begun, Next: result.begun.Add(b.Every)}
		b.Events.Emit("metadata.backed-up", b.epoch, fmt.Sprintf("%s reaches version %d", result.source.Name, result.source.Version))
	case result.givenUp:
		b.status.Next = b.Now().Add(backupSettle)
	default:
		b.fail(result.err)
		b.status.Next = b.Now().Add(min(b.Every, backupRetry))
	}
}

// fail notes why there is no backup. The event is told once, until one succeeds.
func (b *backups) fail(err error) {
	if b.status.Error == "" {
		b.Events.Emit("metadata.backup-failed", b.epoch, err.Error())
	}

	if b.status.Error != err.Error() {
		b.logger.Warn("the metadata was not backed up", zap.Error(err))
	}

	b.status.Error = err.Error()
}

func (b *backups) report(ctx context.Context, r controller.Runtime) error {
	err := safe.WriterModify(ctx, r, NewBackupStatus(), func(res *BackupStatus) error {
		*res.TypedSpec() = b.status

		return nil
	})
	if err != nil {
		return fmt.Errorf("report the backups: %w", err)
	}

	return nil
}
