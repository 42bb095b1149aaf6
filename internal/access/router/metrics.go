package router

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// unknownMethod stands for every name that is none of the contract's: clients must not make labels.
const unknownMethod = "unknown"

const (
	namespace = "oceanchat"
	subsystem = "router"
)

type metrics struct {
	requests  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	unlimited prometheus.Counter
	limited   prometheus.Counter
	circuits  []prometheus.Collector
}

func newMetrics(breakers map[string]*breaker) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "requests_total",
			Help: "Requests of long connections by method and code of the answer.",
		}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "call_seconds",
			Help:    "How long the owner of a method took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method"}),
		unlimited: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "unlimited_total",
			Help: "Requests that passed uncounted because the shared counters could not be reached.",
		}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "rate_limited_total",
			Help: "Requests refused because their user sent too many.",
		}),
	}
	for target, b := range breakers {
		opts := func(name, help string) prometheus.Opts {
			return prometheus.Opts{
				Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, ConstLabels: prometheus.Labels{"service": target},
			}
		}
		m.circuits = append(m.circuits,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("circuit_open",
				"1 while calls to a service are refused because it fails, 0.5 while a single call probes whether it is back.")),
				func() float64 { return b.figures().state }),
			prometheus.NewCounterFunc(prometheus.CounterOpts(opts("circuit_opened_total", "How often the circuit of a service opened.")),
				func() float64 { return b.figures().opened }),
			prometheus.NewCounterFunc(prometheus.CounterOpts(opts("circuit_refused_total", "Requests refused because the circuit of their service was open.")),
				func() float64 { return b.figures().refused }))
	}
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return append([]prometheus.Collector{m.requests, m.seconds, m.unlimited, m.limited}, m.circuits...)
}

// count adds one request; took is negative if its owner was not called.
func (m *metrics) count(method string, err error, took time.Duration) {
	m.requests.WithLabelValues(method, string(fault.CodeOf(err))).Inc()
	if took >= 0 {
		m.seconds.WithLabelValues(method).Observe(took.Seconds())
	}
}
