package pusherrealtime

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	delivered, unreached, offline, handedBack prometheus.Counter
	retried, parked                           prometheus.Counter
	signals                                   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "oceanchat", Subsystem: "pusher_realtime", Name: name, Help: help}
	}
	m := &metrics{
		delivered:  prometheus.NewCounter(opts("delivered_total", "Entries that a gateway queued for a connection.")),
		unreached:  prometheus.NewCounter(opts("unreached_total", "Entries for a connection that its gateway did not reach.")),
		offline:    prometheus.NewCounter(opts("offline_total", "Entries turned into offline pushes, per user.")),
		handedBack: prometheus.NewCounter(opts("handed_back_total", "Entries that gateways handed back as not acknowledged.")),
		retried:    prometheus.NewCounter(opts("retried_total", "Tasks that are tried again.")),
		parked:     prometheus.NewCounter(opts("parked_total", "Tasks in the dead-letter stream.")),
		signals:    prometheus.NewCounterVec(opts("signals_total", "Signals by what became of them."), []string{"outcome"}),
	}
	reg.MustRegister(m.delivered, m.unreached, m.offline, m.handedBack, m.retried, m.parked, m.signals)
	return m
}
