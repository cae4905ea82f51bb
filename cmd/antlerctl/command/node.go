package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/services/node/config"
)

func (a *app) servicesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "services",
		Short: "The MooseFS processes of all nodes, or of one",
		Long: `Show the processes of MooseFS that antlerd looks after: on every node that is
alive, or with --node on one. With -o json there is one answer for each node; that of
a node that is not heard of says "not_asked": true.`,
		Example: "  antlerctl services\n  antlerctl services -n n2",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.services(cmd.Context())
		},
	}
}

func (a *app) services(ctx context.Context) error {
	if a.node != "" {
		reply, err := a.servicesOf(ctx, "") // it is asked itself
		if err != nil {
			return err
		}

		return a.show(reply, func(w io.Writer) error { return showServices(w, []*antlerv1.ListServicesResponse{reply}) })
	}

	alive, notHeard, err := a.nodes(ctx)
	if err != nil {
		return err
	}

	var (
		answers []*antlerv1.ListServicesResponse
		failed  failures
	)

	for _, node := range alive {
		reply, err := a.servicesOf(ctx, node)
		if err != nil {
			failed = append(failed, nodeError{node, err})

			continue
		}

		answers = append(answers, reply)
	}

	if a.output == formatTable {
		return firstOf(failed.err("list the services"), showServices(a.Out, answers))
	}

	return firstOf(a.showEachAnswer(answers, notHeard), failed.err("list the services"))
}

func (a *app) servicesOf(ctx context.Context, node string) (*antlerv1.ListServicesResponse, error) {
	return call(passedOn(ctx, node), a, antlerv1.NewNodeServiceClient, antlerv1.NodeServiceClient.ListServices, &antlerv1.ListServicesRequest{})
}

// showEachAnswer also has one for each node that was not asked: a program must not
// take it for a node that isn't there.
func (a *app) showEachAnswer(answers []*antlerv1.ListServicesResponse, notAsked []string) error {
	for _, reply := range answers {
		err := a.show(reply, nil)
		if err != nil {
			return err
		}
	}

	for _, node := range notAsked {
		err := a.showRaw(fmt.Appendf(nil, `{"node":%q,"services":[],"not_asked":true}`, node), "  ")
		if err != nil {
			return err
		}
	}

	return nil
}

// nodes are those of the cluster: those that are alive, and those not heard of.
func (a *app) nodes(ctx context.Context) (alive, notHeard []string, err error) {
	reply, err := call(ctx, a, antlerv1.NewClusterServiceClient, antlerv1.ClusterServiceClient.GetStatus, &antlerv1.GetStatusRequest{})
	if err != nil {
		return nil, nil, err
	}

	for _, node := range reply.GetCluster().GetNodes() {
		if node.GetAlive() {
			alive = append(alive, node.GetName())

			continue
		}

		notHeard = append(notHeard, node.GetName())
		a.note("%s is not heard of, and not asked", node.GetName())
	}

	return alive, notHeard, nil
}

// nodeError is what one node of several had to say.
type nodeError struct {
	node string
	error
}

// failures are those of several nodes that were asked the same.
type failures []nodeError

// err names each of them.
func (f failures) err(doing string) error {
	if len(f) == 0 {
		return nil
	}

	var lines []string
	for _, one := range f {
		lines = append(lines, one.node+": "+message(status.Convert(one.error)))
	}

	return reasonError{fmt.Errorf("%s: %s", doing, strings.Join(lines, "; ")), status.Code(f[0].error), "NODES_FAILED"}
}

// passedOn has whichever node is asked pass the question on; "" keeps it there.
func passedOn(ctx context.Context, node string) context.Context {
	if node == "" {
		return ctx
	}

	return metadata.AppendToOutgoingContext(ctx, config.NodeMetadata, node)
}

func showServices(w io.Writer, answers []*antlerv1.ListServicesResponse) error {
	rows := [][]string{{"NODE", "SERVICE", "STATE", "PID", "RESTARTS", "ERROR"}}

	for _, reply := range answers {
		for _, s := range reply.GetServices() {
			state, pid := fmt.Sprintf("ended (%d)", s.GetExitCode()), ""
			if s.GetRunning() {
				state, pid = "running", fmt.Sprint(s.GetPid())
			}

			rows = append(rows, []string{reply.GetNode(), s.GetName(), state, pid, fmt.Sprint(s.GetRestarts()), s.GetError()})
		}
	}

	return table(w, rows)
}

func (a *app) logsCommand() *cobra.Command {
	request := &antlerv1.StreamLogsRequest{}

	cmd := &cobra.Command{
		Use:   "logs SERVICE",
		Short: "What a service of a node wrote; -f: and goes on writing",
		Long: `Show the log of a service, of which "antlerctl services" lists the names. Without
--node it is the node's on which this runs, or, from elsewhere, the serving node's:
say which node for what runs on several.`,
		Example: "  antlerctl logs mfsmaster            # where it serves\n  antlerctl logs mfschunkserver -n n3 --tail 20\n  antlerctl logs mfsmaster -n n1 -f",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			request.Service = given[0]

			err := a.chooseServing(cmd.Context())
			if err != nil {
				return err
			}

			return a.streamLogs(cmd, request)
		},
	}
	cmd.Flags().BoolVarP(&request.Follow, "follow", "f", false, "go on until Ctrl-C")
	cmd.Flags().Uint32Var(&request.Tail, "tail", 0, "begin with the last so many lines (0: all)")

	return cmd
}

// chooseServing names the node that serves where a person has named none.
func (a *app) chooseServing(ctx context.Context) error {
	path, err := a.configPath()
	if err != nil || path == "" || a.node != "" {
		return err
	}

	reply, err := call(ctx, a, antlerv1.NewClusterServiceClient, antlerv1.ClusterServiceClient.GetStatus, &antlerv1.GetStatusRequest{})
	if err != nil {
		return err
	}

	if a.node = reply.GetCluster().GetServing().GetNode(); a.node == "" {
		return reasonError{
			errors.New("nobody serves, so say which node: -n NODE; `antlerctl services` shows what runs where"),
			codes.FailedPrecondition, "NOBODY_SERVES",
		}
	}

	a.note("on %s, which serves (-n names another node)", a.node)

	return nil
}

func (a *app) streamLogs(cmd *cobra.Command, request *antlerv1.StreamLogsRequest) error {
	call := func(ctx context.Context, conn *session) (antlerv1.NodeService_StreamLogsClient, error) {
		return antlerv1.NewNodeServiceClient(conn).StreamLogs(ctx, request)
	}

	return stream(a, cmd, request.Follow, call, func(w io.Writer, reply *antlerv1.StreamLogsResponse) error {
		_, err := fmt.Fprintln(w, strings.Join(reply.GetLines(), "\n"))

		return err
	})
}

func (a *app) getCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "get [TYPE [ID]]",
		Short: "Any part of a node's state, as it is; without TYPE: what there is",
		Long: `Show resources, the parts that a node's state consists of. A failover can be read
off them in this order: authority, replicaspec, replica, masterspec, master,
addressspec, address. Each node has its own: without --node it is the first that
answers, and the first line says which.`,
		Example: "  antlerctl get                       # which types there are\n  antlerctl get authority -n n1 -o yaml\n  antlerctl get report n2",
		Args:    args(cobra.MaximumNArgs(2)),
		RunE: func(cmd *cobra.Command, given []string) error {
			request := &antlerv1.GetResourcesRequest{}
			if len(given) > 0 {
				request.Type = given[0]
			}

			if len(given) > 1 {
				request.Id = given[1]
			}

			reply, err := call(cmd.Context(), a, antlerv1.NewNodeServiceClient, antlerv1.NodeServiceClient.GetResources, request)
			if err != nil {
				return err
			}

			return a.showGot(request.GetType(), reply)
		},
	}
}

func (a *app) showGot(kind string, reply *antlerv1.GetResourcesResponse) error {
	switch {
	case a.output != formatTable:
		return a.showSpecs(reply)
	case kind == "":
		return showTypes(a.Out, reply)
	case len(reply.GetResources()) == 0:
		a.note("there is no %s on %s: `antlerctl get` says what each type is about", kind, reply.GetNode())
	}

	return showResources(a.Out, reply)
}

// showTypes lists what there is to get.
func showTypes(w io.Writer, reply *antlerv1.GetResourcesResponse) error {
	rows := [][]string{{"TYPE", "WHAT IT SAYS"}}

	for _, r := range reply.GetResources() {
		rows = append(rows, []string{r.GetName(), r.GetMeaning()})
	}

	return table(w, rows)
}

// showResources prints each resource whole: a line that names it, and its spec.
func showResources(w io.Writer, reply *antlerv1.GetResourcesResponse) error {
	for _, r := range reply.GetResources() {
		spec := "  " + strings.ReplaceAll(strings.TrimSpace(r.GetYaml()), "\n", "\n  ")

		_, err := fmt.Fprintf(w, "%s on %s (%s, version %s)\n%s\n", r.GetId(), reply.GetNode(), r.GetType(), r.GetVersion(), spec)
		if err != nil {
			return err
		}
	}

	return nil
}

// showSpecs prints resources as Kubernetes' users expect them: metadata and
// spec.
func (a *app) showSpecs(reply *antlerv1.GetResourcesResponse) error {
	for _, r := range reply.GetResources() {
		meta := fmt.Sprintf(`{"metadata":{"node":%q,"type":%q,"id":%q,"version":%q,"phase":%q,"owner":%q},"spec":%s}`,
			reply.GetNode(), r.GetType(), r.GetId(), r.GetVersion(), r.GetPhase(), r.GetOwner(), r.GetJson())

		var err error
		if a.output == formatYAML {
			err = a.showYAML([]byte(meta))
		} else {
			_, err = fmt.Fprintln(a.Out, meta)
		}

		if err != nil {
			return err
		}
	}

	return nil
}
