package wsgateway

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	framesIn, framesOut, bytesIn, bytesOut prometheus.Counter
	overflow, slow, unrouted, shed, acks   prometheus.Counter
	refused, closed, handedBack, dropped   *prometheus.CounterVec
	failures                               *prometheus.CounterVec
	delivery, connect                      prometheus.Histogram
}

const namespace, subsystem = "oceanchat", "ws_gateway"

func newMetrics(reg prometheus.Registerer, conns, queued func() float64) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, []string{label})
		reg.MustRegister(c)
		return c
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "connections", Help: "Open long connections.",
	}, conns))
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "output_queue_bytes", Help: "Bytes that wait to be written to clients, over all connections.",
	}, queued))
	failures := vec("failures_total",
		"What failed inside; lease, register and sessions rising means that pushes or revocations may be missed.", "what")
	for _, what := range []string{"accept", "deliver", "displace", "goodbye", "handback", "lease", "register", "resync", "sessions"} {
		failures.WithLabelValues(what) // an alarm needs the zero before the first failure
	}
	delivery := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "delivery_seconds",
		Help:    "Age of an entry, from its append, when it was queued for the connections of its recipients.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
	})
	connect := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "connect_seconds",
		Help:    "From a client's connect to its answer, refused ones not counted.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
	reg.MustRegister(delivery, connect)
	return &metrics{
		connect:    connect,
		delivery:   delivery,
		failures:   failures,
		framesIn:   counter("frames_in_total", "Packets from clients."),
		framesOut:  counter("frames_out_total", "Frames to clients."),
		bytesIn:    counter("bytes_in_total", "Bytes from clients."),
		bytesOut:   counter("bytes_out_total", "Bytes to clients."),
		overflow:   counter("overflow_total", "Connections closed because their output queue was full."),
		slow:       counter("slow_writes_total", "Connections closed because a write took too long or failed."),
		unrouted:   counter("unrouted_total", "Requests that router did not answer."),
		shed:       counter("shed_total", "Requests refused because they waited too long for those before them in their lane."),
		acks:       counter("acks_total", "Pushed entries that clients acknowledged."),
		refused:    vec("connects_refused_total", "Refused connects.", "reason"),
		closed:     vec("closed_total", "Closed connections; 1000 is the client's own doing.", "code"),
		handedBack: vec("handed_back_total", "Pushed entries handed back for offline push.", "cause"),
		dropped:    vec("dropped_total", "What did not fit into a bounded backlog.", "what"),
	}
}

func (m *metrics) sent(frames, bytes int) {
	m.framesOut.Add(float64(frames))
	m.bytesOut.Add(float64(bytes))
}

func (m *metrics) closedWith(code closeCode) { m.closed.WithLabelValues(strconv.Itoa(int(code))).Inc() }
