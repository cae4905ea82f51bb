package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	antlerv1 "antler/api/antler/v1"
	"antler/services/node/config"
	"antler/services/node/led"
	"antler/services/node/upgrade"
)

const (
	// refusedFlag is there when this start refused antler.yaml.
	refusedFlag = config.RunDir + "/refused"
	lights      = "/sys/class/leds"
	// ledAnswer is how long antlerd gets to answer.
	ledAnswer = 2 * time.Second
)

func ledCommand(load func() (*config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "led",
		Short: "Blink a Raspberry Pi's activity light while something is wrong (the appliance image does so)",
		Long: `Blink a Raspberry Pi's activity light while something is wrong: two short flashes
every two seconds where antler.yaml was refused; one second on, one second off
where the node is not healthy in the cluster's eyes, or not yet. A healthy node's
light does what it does anyway. Where there is no such light this does nothing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			light, err := led.Find(lights)
			if err != nil || light == nil {
				return err
			}

			conn, err := grpc.NewClient("unix://"+config.APISocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				return err
			}
			defer conn.Close()

			client := antlerv1.NewClusterServiceClient(conn)

			return light.Show(cmd.Context(), func(ctx context.Context) led.Condition {
				return condition(ctx, refusedFlag, load, client)
			}, sleep)
		},
	}
}

// condition asks antlerd, unless it is known already why that can't be well.
func condition(ctx context.Context, refused string, load func() (*config.Config, error), client antlerv1.ClusterServiceClient) led.Condition {
	if _, err := os.Stat(refused); err == nil {
		return led.Refused
	}

	cfg, err := load()
	if err != nil {
		return led.Unhealthy
	}

	ctx, cancel := context.WithTimeout(ctx, ledAnswer)
	defer cancel()

	reply, err := client.GetStatus(ctx, &antlerv1.GetStatusRequest{})
	if err != nil || upgrade.Missing(reply.GetCluster(), cfg.Node.Name) != "" {
		return led.Unhealthy
	}

	return led.Healthy
}
