package orchestrator

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	entries, failures, loads prometheus.Counter
	tasks, recipients, alarm *prometheus.CounterVec
	lag                      prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "oceanchat", Subsystem: "orchestrator", Name: name, Help: help}
	}
	m := &metrics{
		entries:    prometheus.NewCounter(opts("entries_total", "Entries whose tasks are stored.")),
		failures:   prometheus.NewCounter(opts("failures_total", "Runs that failed and are tried again.")),
		loads:      prometheus.NewCounter(opts("member_sets_loaded_total", "Member sets that were asked of group.")),
		tasks:      prometheus.NewCounterVec(opts("tasks_total", "Tasks stored."), []string{"kind"}),
		recipients: prometheus.NewCounterVec(opts("recipients_total", "Recipients of entries, per connection when on line."), []string{"kind"}),
		alarm:      prometheus.NewCounterVec(opts("alarms_total", "What should never happen and was passed."), []string{"what"}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "oceanchat", Subsystem: "orchestrator", Name: "lag_seconds",
			Help:    "Age of the oldest entry of a run when its tasks were stored.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 300, 3600},
		}),
	}
	reg.MustRegister(m.entries, m.failures, m.loads, m.tasks, m.recipients, m.alarm, m.lag)
	return m
}
