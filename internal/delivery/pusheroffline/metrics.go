package pusheroffline

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	tasks, expired, noToken, logouts        prometheus.Counter
	unconfigured, outcomes, deleted, parked *prometheus.CounterVec
	breaker                                 *prometheus.GaugeVec
	took, age                               *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	const namespace, subsystem = "oceanchat", "pusher_offline"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	}
	hist := func(name, help string, buckets ...float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets,
		}, []string{"vendor"})
	}
	m := &metrics{
		tasks:        counter("tasks_total", "Offline tasks that were split."),
		expired:      counter("expired_total", "Notifications that were too old to be sent."),
		noToken:      counter("no_token_total", "Notifications whose device had no token any more."),
		logouts:      counter("logouts_total", "Devices whose tokens were removed because they logged out."),
		unconfigured: vec("unconfigured_total", "Notifications for a vendor that is not configured.", "vendor"),
		outcomes:     vec("outcomes_total", "What vendors answered.", "vendor", "outcome"),
		deleted:      vec("tokens_deleted_total", "Tokens removed because the vendor called them dead.", "vendor"),
		parked:       vec("parked_total", "Tasks that were given up, by queue.", "queue"),
		breaker: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "breaker_open", Help: "1 while a vendor is left alone.",
		}, []string{"vendor"}),
		took: hist("send_seconds", "Duration of a vendor's answer.", .01, .03, .1, .3, 1, 3, 8),
		age:  hist("age_seconds", "Age of a notification when its vendor took it, from the task.", .03, .1, .3, 1, 3, 10, 60, 600, 3600),
	}
	reg.MustRegister(m.tasks, m.expired, m.noToken, m.logouts, m.unconfigured, m.outcomes, m.deleted, m.parked, m.breaker, m.took, m.age)
	return m
}
