package app

import (
	"context"
	"math"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// queues shows what waits between the services.
type queues struct {
	depths       func(context.Context) []backbone.Depth
	tasks, bytes *prometheus.Desc
}

var _ prometheus.Collector = (*queues)(nil)

func newQueues(depths func(context.Context) []backbone.Depth) *queues {
	return &queues{
		depths: depths,
		tasks: prometheus.NewDesc("oceanchat_queue_tasks",
			"Tasks that wait in a work queue; of the queue dead those that were given up within the last week.", []string{"queue"}, nil),
		bytes: prometheus.NewDesc("oceanchat_queue_bytes", "Bytes of those tasks.", []string{"queue"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (q *queues) Describe(out chan<- *prometheus.Desc) { out <- q.tasks; out <- q.bytes }

// Collect implements prometheus.Collector.
func (q *queues) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), lagTimeout)
	defer cancel()
	for _, d := range q.depths(ctx) {
		out <- prometheus.MustNewConstMetric(q.tasks, prometheus.GaugeValue, float64(d.Tasks), d.Queue)
		out <- prometheus.MustNewConstMetric(q.bytes, prometheus.GaugeValue, float64(d.Bytes), d.Queue)
	}
}

// ownMetrics shows which version runs and whether it is ready, as /readyz has it.
func ownMetrics(reg prometheus.Registerer, status *lifecycle.Status) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "oceanchat_build_info", Help: "Always 1; the label is the version.", ConstLabels: prometheus.Labels{"version": Version},
	}, func() float64 { return 1 }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "oceanchat_ready", Help: "1 while /readyz is true.",
	}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), lagTimeout)
		defer cancel()
		if status.Ready(ctx) != nil {
			return 0
		}
		return 1
	}))
}

// diskMetric shows how much room is left for the log and the database; no number where the system does not tell.
func diskMetric(reg prometheus.Registerer, free func() (part float64, ok bool)) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "oceanchat_disk_free_ratio", Help: "Part of the data directory's disk that is free; one process only.",
	}, func() float64 {
		if part, ok := free(); ok {
			return part
		}
		return math.NaN()
	}))
}
