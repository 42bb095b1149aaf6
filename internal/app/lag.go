package app

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/oceanchat/oceanchat/internal/delivery/orchestrator"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/support/persistence"
)

// The bounds of one look at all partitions: a log that does not answer must not hold up /metrics.
const (
	lagTimeout  = 2 * time.Second
	lagParallel = 8
)

// lag shows how far the readers of the log are behind its end. It asks the backbone when it is asked itself.
type lag struct {
	streams        []backbone.Log
	readers        []string
	behind, age    *prometheus.Desc
	bytes, maximum *prometheus.Desc
	unanswered     prometheus.Counter
}

var _ prometheus.Collector = (*lag)(nil)

func newLag(streams []backbone.Log) *lag {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("oceanchat_log_"+name, help, labels, nil)
	}
	return &lag{
		streams: streams, readers: []string{persistence.Reader, orchestrator.ReaderName},
		behind:  desc("reader_lag_batches", "Batches of a partition that a reader has not acknowledged.", "reader", "partition"),
		age:     desc("reader_lag_seconds", "Age of the oldest batch that a reader has not acknowledged, which it does once a second; 0 when there is none.", "reader", "partition"),
		bytes:   desc("bytes", "Bytes of a partition.", "partition"),
		maximum: desc("max_bytes", "Bytes of a partition at which sends fail with LOG_FULL.", "partition"),
		unanswered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oceanchat_log_lag_unanswered_total", Help: "Looks at a partition's readers that the backbone did not answer; their figures are missing then.",
		}),
	}
}

// Describe implements prometheus.Collector.
func (l *lag) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{l.behind, l.age, l.bytes, l.maximum} {
		out <- d
	}
	l.unanswered.Describe(out)
}

// Collect implements prometheus.Collector.
func (l *lag) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), lagTimeout)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(lagParallel)
	for i, s := range l.streams {
		g.Go(func() error {
			if err := l.partition(ctx, s, strconv.Itoa(i), out); err != nil {
				l.unanswered.Inc() // the log tells of the same trouble where it hurts
			}
			return nil
		})
	}
	_ = g.Wait() // never an error
	l.unanswered.Collect(out)
}

func (l *lag) partition(ctx context.Context, s backbone.Log, name string, out chan<- prometheus.Metric) error {
	info, err := s.Info(ctx)
	if err != nil {
		return err
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append(labels, name)...)
	}
	gauge(l.bytes, float64(info.Bytes))
	gauge(l.maximum, float64(info.MaxBytes))
	for _, r := range l.readers {
		floor, err := s.Floor(ctx, r)
		if err != nil {
			return err
		}
		floor = max(floor, max(info.First, 1)-1)
		var age time.Duration
		if floor < info.Last {
			oldest, err := s.Get(ctx, floor+1)
			if err != nil {
				return err
			}
			age = max(0, time.Since(oldest.Time))
		}
		gauge(l.behind, float64(info.Last-min(floor, info.Last)), r)
		gauge(l.age, age.Seconds(), r)
	}
	return nil
}
