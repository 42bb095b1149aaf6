package apigateway

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	limited  *prometheus.CounterVec
	unknown  prometheus.Counter
	inFlight prometheus.Gauge
}

const namespace, subsystem = "oceanchat", "api_gateway"

func newMetrics(reg prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}
	}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts(
			opts("requests_total", "Answered requests.")), []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "request_seconds", Help: "Time from the header of a request to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20},
		}, []string{"method", "route"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts(
			opts("rate_limited_total", "Requests refused by the rate limit.")), []string{"by"}),
		unknown: prometheus.NewCounter(prometheus.CounterOpts(
			opts("sessions_unknown_total", "Look-ups of sessions that the allow-list did not know."))),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts(opts("requests_in_flight", "Requests that are being served."))),
	}
	reg.MustRegister(m.requests, m.seconds, m.limited, m.unknown, m.inFlight)
	return m
}

func (m *metrics) answered(method, route string, status int, took time.Duration) {
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(method, route).Observe(took.Seconds())
}
