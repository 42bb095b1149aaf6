package message

import "github.com/prometheus/client_golang/prometheus"

// Gauges show how the log's partitions are shared out; partitions is how many there are.
func (s *Service) Gauges(partitions int) []prometheus.Collector {
	gauge := func(name, help string, value func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "oceanchat", Subsystem: "message", Name: name, Help: help},
			func() float64 { return float64(value()) })
	}
	mine, others := func() int64 { return int64(partitions) }, func() int64 { return 0 } // of the only instance
	if s.affinity != nil {
		mine, others = s.affinity.mine.Load, s.affinity.others.Load
	}
	return []prometheus.Collector{
		gauge("partitions", "Partitions of the log whose messages come to this instance.", mine),
		gauge("other_instances", "Other instances of message that this one hears.", others),
	}
}
