package server

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"antler/services/kubernetes"
	"antler/services/node/config"
)

// Metrics returns the handler of /metrics: this node's view of the cluster in
// the form of Prometheus. It is without authentication: serve it on a loopback
// address.
func (s *Server) Metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(&metrics{server: s},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// metrics reads the state when it is asked.
type metrics struct{ server *Server }

type gauge struct {
	name, help string
	value      func(snapshot) float64
}

func gauges() []gauge {
	return []gauge{
		{"antler_serving", "1 if this node's master serves.", func(s snapshot) float64 { return truth(s.serving() == s.self) }},
		{"antler_served", "1 if some node's master serves.", func(s snapshot) float64 { return truth(s.serving() != "") }},
		{"antler_epoch", "Epoch of the last grant.", func(s snapshot) float64 { return float64(s.authority.Epoch) }},
		{"antler_quorum", "1 if this node hears from a leader.", func(s snapshot) float64 { return truth(s.authority.HaveQuorum) }},
		{"antler_lease_valid", "1 if this node holds a valid lease.", func(s snapshot) float64 { return truth(s.authority.LeaseValid) }},
		{"antler_problems", "Number of problems in the status.", func(s snapshot) float64 { return float64(len(s.problems())) }},
		{"antler_space_total_bytes", "Space of all chunkservers.", func(s snapshot) float64 { return float64(s.space().TotalBytes) }},
		{"antler_space_free_bytes", "Free space of all chunkservers.", func(s snapshot) float64 { return float64(s.space().FreeBytes) }},
		{"antler_chunkservers", "Connected chunkservers.", func(s snapshot) float64 { return float64(s.space().Chunkservers) }},
		{"antler_certificate_end_seconds", "When this node's certificate ends, as Unix time.", func(s snapshot) float64 { return float64(s.certificateEnds.Unix()) }},
	}
}

// Describe implements prometheus.Collector. The collector is unchecked, since
// which nodes there are is known only when it collects.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()

	known, err := m.server.snapshot(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(prometheus.NewDesc("antler_up", "1 if the node's state can be read.", nil, nil), err)

		return
	}

	for _, g := range gauges() {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(g.name, g.help, nil, nil), prometheus.GaugeValue, g.value(known))
	}

	out <- prometheus.MustNewConstMetric(prometheus.NewDesc("antler_events_total", "Events since antlerd's start.", nil, nil),
		prometheus.CounterValue, float64(m.server.options.Events.Total()))

	collectProvisioner(out, known)

	alive := prometheus.NewDesc("antler_node_alive", "1 if the node was heard of lately.", []string{"node"}, nil)
	upToDate := prometheus.NewDesc("antler_replica_up_to_date", "1 if the quorum counts on the node's replica.", []string{"node", "disk"}, nil)

	for _, member := range known.cluster.Nodes {
		out <- prometheus.MustNewConstMetric(alive, prometheus.GaugeValue, truth(known.reports[member.Name].Alive), member.Name)

		if member.Has(config.RoleMetadata) {
			replica := known.nodeStatus(member).Replica
			out <- prometheus.MustNewConstMetric(upToDate, prometheus.GaugeValue, truth(replica.UpToDate), member.Name, replica.Disk)
		}
	}
}

// collectProvisioner says nothing where none is configured.
func collectProvisioner(out chan<- prometheus.Metric, known snapshot) {
	if known.provisioner == nil {
		return
	}

	working := prometheus.NewDesc("antler_provisioner_working", "1 if this node provisions Kubernetes's claims and the API server answers.", nil, nil)
	done := prometheus.NewDesc("antler_provisioner_operations_total", "What was done for claims since antlerd's start; each that failed is tried again.", []string{"operation"}, nil)

	p := known.provisioner
	out <- prometheus.MustNewConstMetric(working, prometheus.GaugeValue, truth(p.Phase == kubernetes.ProvisionerWorking && p.Error == ""))

	for operation, count := range map[string]uint64{
		"provision": p.Done.Provisioned, "delete": p.Done.Deleted, "expand": p.Done.Expanded, "modify": p.Done.Modified, "failed": p.Done.Failed,
	} {
		out <- prometheus.MustNewConstMetric(done, prometheus.CounterValue, float64(count), operation)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}

	return 0
}
