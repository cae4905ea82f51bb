package lab

import (
	"context"
	"fmt"
	"time"
)

// Booted is a cluster that serves, with a volume for workloads.
type Booted struct {
	*Cluster

	// Volume is where the machines see the volume's data.
	Volume string
	// ToServing is how long it took from power to a serving master.
	ToServing time.Duration
}

// volumeSize of the workloads' volume.
const volumeSize = 2 << 30

// Boot makes a cluster from blank disks and waits until all of it is healthy. The
// cluster is also returned with an error, for its consoles; the caller closes it.
func Boot(ctx context.Context, options Options) (*Booted, error) {
	c, err := New(ctx, options)
	if err != nil {
		return nil, err
	}

	return c.Boot(ctx)
}

// Boot is the second half of it, of a cluster whose disks are made and may be more than
// blank.
func (c *Cluster) Boot(ctx context.Context) (*Booted, error) {
	begin, booted := c.start, &Booted{Cluster: c}

	err := c.PowerOn(ctx, c.Machines...)
	if err != nil {
		return booted, err
	}

	serving, err := c.AwaitServing(ctx, "")
	if err != nil {
		return booted, err
	}

	booted.ToServing = time.Since(begin)
	c.Say("%s serves", serving.Name)

	if err = c.AwaitHealthy(ctx); err != nil {
		return booted, err
	}

	booted.Volume, err = c.CreateVolume(ctx, serving, "lab", volumeSize)
	if err != nil {
		return booted, fmt.Errorf("prepare the workloads' volume: %w", err)
	}

	return booted, nil
}
