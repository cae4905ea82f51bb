package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/history"
	"antler/services/node/config/gen"
)

// serve boots the cluster, shows what it can do, and keeps it up until told to
// stop.
func serve(ctx context.Context) error {
	err := os.WriteFile(path("pid"), fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644)
	if err != nil {
		return err
	}
	defer os.Remove(path("pid"))

	image, err := lab.OpenImage(build + "/image")
	if err != nil {
		return err
	}

	seed := uint64(time.Now().UnixNano())

	cluster, err := lab.New(ctx, lab.Options{
		Dir: path("cluster"), Image: image, Agent: build + "/lab/agent", Seed: seed, Progress: os.Stdout,
	})
	if err != nil {
		return err
	}
	defer cluster.Close()

	err = gen.WriteClient(path("admin.yaml"), cluster.Admin)
	if err != nil {
		return err
	}

	d := &demo{cluster: cluster, seed: seed, figures: map[string]any{}}

	err = d.show(ctx)
	if err != nil {
		fmt.Printf("seed %d\n%s", seed, cluster.Tails())

		return err
	}

	err = os.WriteFile(path("done"), nil, 0o644)
	if err != nil {
		return err
	}

	<-ctx.Done()

	return nil
}

// demo is what is shown, and measured on the way.
type demo struct {
	cluster *lab.Cluster
	seed    uint64
	figures map[string]any

	serving  *lab.Machine
	cutAt    time.Time
	workload *lab.Workload
}

func (d *demo) show(ctx context.Context) error {
	for _, step := range []struct {
		within time.Duration
		do     func(context.Context) error
	}{
		{5 * time.Minute, d.boot},
		{5 * time.Minute, d.write},
		{5 * time.Minute, d.cut},
		{5 * time.Minute, d.recover},
		{5 * time.Minute, d.check},
	} {
		stepCtx, cancel := context.WithTimeout(ctx, step.within)
		err := step.do(stepCtx)

		cancel()

		if err != nil {
			return err
		}
	}

	return d.report()
}

// silence is for how long a step says nothing.
const silence = 10 * time.Second

// waits says now and then what for, until stop is called.
func (d *demo) waits(what func() string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())

	go func() {
		ticker := time.NewTicker(silence)
		defer ticker.Stop()

		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				d.cluster.Say("%s", what())
			}
		}
	}()

	return cancel
}

func (d *demo) boot(ctx context.Context) error {
	c := d.cluster
	begin := time.Now()

	defer d.waits(func() string { return "still waiting for a cluster that serves, which takes a minute or three" })()

	c.Say("booting n1 and n2 (replicas) and n3 (witness) with blank disks, emulating arm64")

	err := c.PowerOn(ctx, c.Machines...)
	if err != nil {
		return err
	}

	d.serving, err = c.AwaitServing(ctx, "")
	if err != nil {
		return err
	}

	d.figures["boot_to_serving_s"] = time.Since(begin).Round(100 * time.Millisecond).Seconds()
	c.Say("%s serves, with no hand on it", d.serving.Name)

	err = c.AwaitHealthy(ctx)
	if err != nil {
		return err
	}

	c.Say("both replicas are up to date, three chunkservers are connected")

	return nil
}

func (d *demo) write(ctx context.Context) error {
	c := d.cluster

	dir, err := c.CreateVolume(ctx, d.serving, "demo", 1<<30)
	if err != nil {
		return err
	}

	c.Say("created the volume demo (1 GiB); n3 writes files to it with fsync; the power is cut after 100 operations")

	d.workload, err = c.Machine("n3").Work(ctx, dir+"/files", d.seed, lab.AtEase())
	if err != nil {
		return err
	}

	defer d.waits(func() string { return fmt.Sprintf("%d operations acknowledged so far", acknowledged(d.workload.Ops())) })()

	return d.workload.AwaitAcknowledged(ctx, time.Time{}, 100)
}

func (d *demo) cut(ctx context.Context) error {
	c := d.cluster
	marks := c.Marks()

	c.Say("%d operations acknowledged so far; cutting the power of %s, which serves", acknowledged(d.workload.Ops()), d.serving.Name)

	at := c.PowerCut(d.serving)
	d.cutAt = at

	stop := d.waits(func() string { return "still waiting for another node to serve and for the client to go on" })
	defer stop()

	serving, err := c.AwaitServing(ctx, d.serving.Name)
	if err != nil {
		return err
	}

	err = d.workload.AwaitAcknowledged(ctx, time.Now(), 50)
	if err != nil {
		return err
	}

	stop()

	ops := d.workload.Ops()
	gap, _ := history.LongestGap(ops)
	first := history.FirstAcknowledged(ops, at)
	events := append(c.EventsSince(marks, at), lab.Event{Time: first, Node: "n3", Kind: "client: first acknowledged write"})
	timeline := lab.Timeline(at, events)

	c.Say("%s serves now; what happened, from the power cut on:", serving.Name)
	lab.PrintTimeline(os.Stdout, timeline)
	c.Say("the client's longest gap: %.1f s (on this machine, under emulation)", gap.Seconds())

	d.figures["gap_ms"] = gap.Milliseconds()
	d.figures["timeline"] = timeline

	return nil
}

func (d *demo) recover(ctx context.Context) error {
	c := d.cluster

	c.Say("giving %s its power back", d.serving.Name)

	defer d.waits(func() string { return fmt.Sprintf("still waiting for %s to boot and to catch up", d.serving.Name) })()

	err := c.PowerOn(ctx, d.serving)
	if err != nil {
		return err
	}

	err = c.AwaitHealthy(ctx)
	if err != nil {
		return err
	}

	c.Say("%s is resynchronised: both replicas are up to date again", d.serving.Name)

	return nil
}

func (d *demo) check(ctx context.Context) error {
	c := d.cluster

	err := d.workload.Stop(ctx)
	if err != nil {
		return err
	}

	c.Say("reading everything back")

	stop := d.waits(func() string { return "still reading" })
	result, err := d.workload.Check(ctx, c.Machine("n3"), history.Window{From: d.cutAt, To: d.cutAt})

	stop()

	if err != nil {
		return err
	}

	lost := len(result.Lost) + len(result.Altered) + len(result.Undone)
	d.figures["acknowledged"], d.figures["lost"], d.figures["errors"] = result.Acknowledged, lost, result.Errors
	d.figures["interrupted"] = result.Interrupted
	c.Say("%d operations acknowledged, %d lost, %d errors at the client", result.Acknowledged, lost, result.Errors)

	if result.Interrupted > 0 {
		c.Say("%d that had not been acknowledged when the power went failed", result.Interrupted)
	}

	if !result.OK() {
		return fmt.Errorf("lost %v, altered %v, undone %v", result.Lost, result.Altered, result.Undone)
	}

	if problems := c.TwoMasters(); len(problems) > 0 {
		return fmt.Errorf("two masters: %v", problems)
	}

	if faults := c.KernelFaults(); len(faults) > 0 {
		return fmt.Errorf("a kernel died: %v", faults)
	}

	return nil
}

func (d *demo) report() error {
	report := lab.Report{Name: "demo"}
	report.Add(lab.Case{
		Name: "Demo", Promise: "nothing acknowledged is lost when the serving node's power is cut", Passed: true, Figures: d.figures,
	})

	err := report.Write(build+"/reports", io.Discard)
	if err != nil {
		return err
	}

	d.cluster.Say("the cluster stays up; the figures are in %s/reports/demo.json", build)
	fmt.Printf(`
  export ANTLERCONFIG=%s
  build/bin/antlerctl status
  build/bin/antlerctl switchover
  make demo-stop               # when you have seen enough
`, path("admin.yaml"))

	return nil
}

func acknowledged(ops []history.Op) int {
	n := 0

	for _, op := range ops {
		if op.Acknowledged() {
			n++
		}
	}

	return n
}
