package command

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"antler/image/flash"
)

const flashHelp = `Write the image and a node's configuration to a card, and read back what was
written. The image may be packed (.img.xz). Instead of a card a file may be named,
which is made, for a virtual machine.

Nothing is written unless all of this is so: the image is one of Antler, the
configuration is right, the target is a whole disk that nothing uses and large
enough, and it is blank or --erase is given.

Without --node-config put the node's file as antler.yaml on the partition ANTLER of
the card. Raspberry Pi Imager and dd write the image as well.`

const flashExample = `  lsblk -o NAME,SIZE,MODEL,MOUNTPOINTS          # which one is the card?
  antlerctl flash antler-v1-arm64.img.xz /dev/sdX --node-config home/n1.yaml --erase
  antlerctl flash antler.img n1.img --node-config home/n1.yaml --size 8GiB`

func (a *app) flashCommand() *cobra.Command {
	var (
		options flash.Options
		size    sizeFlag
	)

	cmd := &cobra.Command{
		Use:     "flash IMAGE TARGET",
		Short:   "Write the image and a node's configuration to a card",
		Long:    flashHelp,
		Example: flashExample,
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, given []string) error {
			options.Image, options.Target = given[0], given[1]
			options.Size, options.Now = int64(size), a.Now()
			options.Progress = (&progress{out: a.Err, now: a.Now}).report

			result, err := flash.Write(cmd.Context(), options)
			if err != nil {
				return err
			}

			whose := result.Node
			if whose == "" {
				whose = "no node yet: put its antler.yaml on the partition ANTLER"
			}

			return a.showResult(flashed{options.Target, result.Bytes, result.Node},
				fmt.Sprintf("%s: written and read back, %s, for %s", options.Target, formatSize(uint64(result.Bytes)), whose))
		},
	}
	cmd.Flags().StringVar(&options.Config, "node-config", "", "the node's own file, made by `antlerctl gen config`")
	cmd.Flags().BoolVar(&options.Erase, "erase", false, "write over what is on the target")
	cmd.Flags().Var(&size, "size", "size of the file, if the target is one: "+sizeHelp)

	return cmd
}

// flashed is what was written where.
type flashed struct {
	Target string `json:"target"`
	Bytes  int64  `json:"bytes"`
	// Node that the card is for; "" while it is nobody's.
	Node string `json:"node"`
}

// progress prints how far a long step is, once a second.
type progress struct {
	out  io.Writer
	now  func() time.Time
	step string
	// begun is when the step began, last when something was printed.
	begun, last time.Time
}

func (p *progress) report(step string, done, total int64) {
	now := p.now()
	if step != p.step {
		p.step, p.begun, p.last = step, now, time.Time{}
	}

	if done < total && now.Sub(p.last) < time.Second {
		return
	}

	p.last = now

	rate := "-"
	if seconds := now.Sub(p.begun).Seconds(); seconds > 0 {
		rate = formatSize(uint64(float64(done)/seconds)) + "/s"
	}

	end := ""
	if done == total {
		end = "\n"
	}

	// The blanks cover what a longer line left.
	_, _ = fmt.Fprintf(p.out, "\r%-9s %3d %%  %s of %s  %s      %s", step, done*100/total,
		formatSize(uint64(done)), formatSize(uint64(total)), rate, end)
}
