package authority

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/cosi-project/runtime/pkg/controller"
	"github.com/cosi-project/runtime/pkg/safe"
	"go.uber.org/zap"
)

// StatusController writes AuthorityStatus and the NodeReports. The loss of the
// lease is written when it happens, by a timer, and not at the next renewal.
type StatusController struct {
	Authority *Authority
	// Events may be nil.
	Events Events

	told AuthorityStatusSpec
	// written is what the resources say. Most of what comes changes nothing, and the
	// runtime would copy and compare all of it each time.
	written        AuthorityStatusSpec
	writtenReports map[string]NodeReportSpec
}

// Name implements controller.Controller.
func (c *StatusController) Name() string { return "authority.StatusController" }

// Inputs implements controller.Controller.
func (c *StatusController) Inputs() []controller.Input { return nil }

// Outputs implements controller.Controller.
func (c *StatusController) Outputs() []controller.Output {
	return []controller.Output{
		{Type: AuthorityStatusType, Kind: controller.OutputExclusive},
		{Type: NodeReportType, Kind: controller.OutputExclusive},
	}
}

// Run implements controller.Controller.
func (c *StatusController) Run(ctx context.Context, r controller.Runtime, _ *zap.Logger) error {
	timer := time.NewTimer(0)
	defer timer.Stop()

	c.written, c.writtenReports = AuthorityStatusSpec{}, map[string]NodeReportSpec{}

	for {
		changed := c.Authority.Changed()

		until, err := c.write(ctx, r)
		if err != nil {
			return err
		}

		timer.Stop()

		if !until.IsZero() {
			timer.Reset(until.Sub(c.Authority.config.Now()))
		}

		select {
		case <-ctx.Done():
			return nil
		case <-r.EventCh():
		case <-changed:
		case <-timer.C:
		}
	}
}

func (c *StatusController) write(ctx context.Context, r controller.Runtime) (time.Time, error) {
	status, until := c.Authority.Status()
	c.tell(status)

	if worthWriting(c.written, status) {
		err := safe.WriterModify(ctx, r, NewAuthorityStatus(), func(res *AuthorityStatus) error {
			*res.TypedSpec() = status

			return nil
		})
		if err != nil {
			return until, fmt.Errorf("write the authority's status: %w", err)
		}

		c.written = status
	}

	return until, c.writeReports(ctx, r)
}

func (c *StatusController) writeReports(ctx context.Context, r controller.Runtime) error {
	for name, report := range c.Authority.Reports() {
		if was, there := c.writtenReports[name]; there && reflect.DeepEqual(was, report) {
			continue
		}

		err := safe.WriterModify(ctx, r, NewNodeReport(name), func(res *NodeReport) error {
			*res.TypedSpec() = report

			return nil
		})
		if err != nil {
			return fmt.Errorf("write the report of %s: %w", name, err)
		}

		c.writtenReports[name] = report
	}

	return nil
}

// tell writes down what happened since the last time. What was so when antlerd
// started is no news.
func (c *StatusController) tell(s AuthorityStatusSpec) {
	was := c.told
	c.told = s

	if c.Events == nil || was.Self == "" || was.Starting {
		return
	}

	for _, e := range eventsBetween(was, s) {
		c.Events.Emit(e.kind, s.Epoch, e.message)
	}
}

// worthWriting reports whether anything changed besides times that move on with
// each renewal. Everybody who watches would wake up for those.
func worthWriting(was, is AuthorityStatusSpec) bool {
	return !reflect.DeepEqual(withoutTimes(was), withoutTimes(is))
}

func withoutTimes(s AuthorityStatusSpec) AuthorityStatusSpec {
	s.LeaseUntil = time.Time{}

	return s
}
