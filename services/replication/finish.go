package replication

import (
	"fmt"
	"time"

	"go.uber.org/zap"
)

// finish takes in the outcome of a step.
func (k *keeping) finish(out outcome) {
	k.stop()
	k.current = stepNone

	// Parting has the quorum change what is wanted here, be the command done or not.
	if out.parted {
		k.judged(out.measured, true)
	}

	if out.err != nil {
		k.fail(out)

		return
	}

	delete(k.failures, out.step)
	delete(k.notBefore, out.step)

	if k.problemStep == out.step {
		k.problem, k.problemStep = nil, stepNone
	}

	switch out.step {
	case stepInspect:
		k.found = out.found
		k.inspectAt = time.Now().Add(stepInspect.pause(0))
	case stepCreate:
		k.found = finding{phase: PhaseDown}
		k.Events.Emit("replication.created", out.begun.Epoch, "replica created on "+out.begun.Device)
	case stepUp, stepRecycle:
		k.broken = k.broken && !k.drbd.nine()
		k.config = k.configOnDisk()
		// The kernel's word is on its way: it may tell of the resource before it
		// tells of the connection, and before either of an end that was meant.
		for _, step := range []step{stepUp, stepRecycle, stepInspect, stepConnect} {
			k.notBefore[step] = time.Now().Add(stepUp.pause(0))
		}
	case stepMeasure:
		k.percent = out.measured.inSync()
		k.notBefore[stepMeasure] = time.Now().Add(stepMeasure.pause(0))
	case stepJudge:
		if !out.parted {
			k.judged(out.measured, false)
		}
	case stepConnect, stepCompare, stepEqual, stepFirst, stepPromote, stepDemote, stepBreak, stepFence, stepDiscard:
		// The kernel's word for it is on its way. Until it is here the same step
		// would be chosen again.
		k.notBefore[out.step] = time.Now().Add(out.step.pause(0))
	}
}

func (k *keeping) fail(out outcome) {
	k.failures[out.step]++
	k.notBefore[out.step] = time.Now().Add(out.step.pause(k.failures[out.step]))

	// A step that was no longer wanted did not fail.
	if !out.step.stillWanted(&out.begun, k.spec) {
		return
	}

	// Being held open passes, or is told after two seconds.
	if out.step == stepDemote && refused(out.err, refusedHeldOpen) && k.failures[stepDemote] < 20 {
		return
	}

	k.logger.Warn("replica: step failed", zap.String("step", string(out.step)), zap.Error(out.err))
	k.problem, k.problemStep = fmt.Errorf("%s: %w", out.step, out.err), out.step

	if out.step == stepPromote {
		k.failedEpoch = out.begun.Epoch
	}

	// The device has to be looked at again before it is touched again.
	if out.step == stepCreate || out.step == stepUp {
		k.found.again()
	}
}
