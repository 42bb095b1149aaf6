// Package persistence is the writer: it reads the log and stores it in the database, in batches, idempotently, and
// purges from the log what is stored and delivered. Sending and receiving never wait for it. It alone writes entries
// and the marks that say how far each partition is stored; it calls no other service. It never moves past what it
// could not store: it retries, and what cannot be right (a hole in a conversation) stops that conversation's storing
// and all purging, with an alarm, and keeps the mark below it, so that nothing is lost.
package persistence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Reader is the name of the writer's durable consumer; retention reads its floor.
const Reader = "persistence"

// Config is the "persistence" section of the configuration.
type Config struct {
	Linger     time.Duration `yaml:"linger" default:"20ms" min:"0s" max:"1s" doc:"Least time between two batches of one partition; what arrives meanwhile is stored together."`
	BatchRuns  int           `yaml:"batch_runs" default:"64" min:"1" max:"1024" doc:"Most messages of the log (each up to 256 entries) in one batch."`
	Heads      int           `yaml:"heads" default:"200000" min:"100" doc:"Conversations whose end is kept in memory."`
	PurgeEvery time.Duration `yaml:"purge_every" default:"10s" min:"100ms" doc:"How often what is stored and delivered is purged from the log."`
}

// Retention says what may leave the log.
type Retention struct {
	Keep time.Duration // a batch stays at least that long, as long as there is room
	// Others are the readers beside the writer that must have passed a batch.
	Others []string
}

// fullness is the part of a partition's space above which age no longer protects a batch.
const fullness = 0.8

// Service is the target.
type Service struct {
	cfg     Config
	keep    Retention
	streams []backbone.Log
	db      store.Log
	log     *slog.Logger
	m       metrics
	tracer  *obs.Tracer       // nil: off
	journey *journey.Recorder // nil: off
	halted  atomic.Bool       // something was not as it must be: no purging
}

type metrics struct {
	stored, raw, gaps, failures prometheus.Counter
	batch, lag, store           prometheus.Histogram
	used                        *prometheus.GaugeVec
	halted                      prometheus.Gauge
}

// New returns a Service over the log's streams that does nothing before Run. cfg must be valid.
func New(cfg Config, keep Retention, streams []backbone.Log, db store.Log, log *slog.Logger, reg prometheus.Registerer) *Service {
	f := promauto.With(reg)
	const ns, sub = "oceanchat", "persistence"
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	return &Service{
		cfg: cfg, keep: keep, streams: streams, db: db, log: log,
		m: metrics{
			stored:   counter("entries_stored_total", "Entries stored."),
			raw:      counter("raw_messages_total", "Messages of the log that could not be decoded, stored raw."),
			gaps:     counter("sequence_gaps_total", "Entries that did not follow their conversation's stored end. Alarm."),
			failures: counter("failures_total", "Batches that failed and are tried again."),
			batch: f.NewHistogram(prometheus.HistogramOpts{
				Namespace: ns, Subsystem: sub, Name: "batch_entries", Help: "Entries in a batch.",
				Buckets: prometheus.ExponentialBuckets(1, 4, 8),
			}),
			lag: f.NewHistogram(prometheus.HistogramOpts{
				Namespace: ns, Subsystem: sub, Name: "lag_seconds", Help: "Age of a batch's oldest entry when it was stored.",
				Buckets: prometheus.ExponentialBuckets(0.005, 4, 10),
			}),
			store: f.NewHistogram(prometheus.HistogramOpts{
				Namespace: ns, Subsystem: sub, Name: "store_seconds", Help: "How long the database took to store a batch, or to refuse it.",
				Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
			}),
			used: f.NewGaugeVec(prometheus.GaugeOpts{
				Namespace: ns, Subsystem: sub, Name: "log_used_ratio", Help: "Part of a partition's space that is in use. Alarm above 0.8.",
			}, []string{"partition"}),
			halted: f.NewGauge(prometheus.GaugeOpts{
				Namespace: ns, Subsystem: sub, Name: "purging_halted", Help: "1 while nothing is purged because a conversation has a hole. Alarm.",
			}),
		},
	}
}

// Run stores and purges until ctx ends; ready is called at once, as nobody waits for the writer.
func (s *Service) Run(ctx context.Context, ready func()) error {
	ready()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, len(s.streams))
	for i, stream := range s.streams {
		wg.Go(func() {
			w := newWriter(s, i)
			if err := stream.Follow(ctx, w.reader()); err != nil {
				errs[i] = fmt.Errorf("read partition %d: %w", i, err)
				cancel()
			}
		})
	}
	wg.Go(func() { s.purgeLoop(ctx) })
	wg.Wait()
	return errors.Join(errs...)
}

func (s *Service) purgeLoop(ctx context.Context) {
	elsewhere := false
	for tick := time.NewTicker(s.cfg.PurgeEvery); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
			if hole := s.purge(ctx); hole != elsewhere {
				elsewhere = hole
				s.tellHalted(ctx, hole)
			}
		}
	}
}

// purge removes what may leave the log, of all partitions or, while a conversation has a hole, of none, whichever
// instance met the hole. It reports whether another one did.
func (s *Service) purge(ctx context.Context) (elsewhere bool) {
	upTo, hole := make([]uint64, len(s.streams)), false
	for i := range s.streams {
		n, behind, err := s.purgeable(ctx, i)
		s.warn(ctx, i, err)
		upTo[i], hole = n, hole || behind
	}
	if s.halted.Load() {
		return false
	}
	if hole {
		return true
	}
	for i, n := range upTo {
		if n == 0 {
			continue
		}
		if err := s.streams[i].Purge(ctx, n); err != nil {
			s.warn(ctx, i, fmt.Errorf("purge up to %d: %w", n, err))
		}
	}
	return false
}

func (s *Service) warn(ctx context.Context, partition int, err error) {
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "purging failed, the next round retries", obs.Partition, partition, obs.Err, err)
	}
}

// purgeable returns up to where a partition may be purged, 0 if not at all: what is below the writer's and every other
// reader's floor and older than Keep; when space runs short, age no longer counts. What is not stored or not delivered
// stays, even if the log fills up. behind reports that its writer, in whichever instance, went on behind a hole: the
// mark moves before a run is acknowledged, so a floor that was read first is above it only then.
func (s *Service) purgeable(ctx context.Context, partition int) (upTo uint64, behind bool, err error) {
	stream := s.streams[partition]
	info, err := stream.Info(ctx)
	if err != nil {
		return 0, false, fmt.Errorf("ask for the stream's state: %w", err)
	}
	full := s.used(ctx, partition, info)
	own, err := stream.Floor(ctx, Reader)
	if err != nil {
		return 0, false, fmt.Errorf("floor of %s: %w", Reader, err)
	}
	mark, err := s.db.Mark(ctx, partition)
	if err != nil {
		return 0, false, fmt.Errorf("read the mark: %w", err)
	}
	if mark.Incarnation != info.Incarnation {
		return 0, false, nil
	}
	upTo = mark.Position
	for _, r := range s.keep.Others {
		floor, err := stream.Floor(ctx, r)
		if err != nil {
			return 0, false, fmt.Errorf("floor of %s: %w", r, err)
		}
		upTo = min(upTo, floor)
	}
	if !full {
		young, err := stream.SeqAt(ctx, time.Now().Add(-s.keep.Keep))
		if err != nil {
			return 0, false, fmt.Errorf("find the first batch to keep: %w", err)
		}
		upTo = min(upTo, max(young, 1)-1)
	}
	if upTo < info.First {
		upTo = 0
	}
	return upTo, own > mark.Position, nil
}

// tellHalted raises or takes back the alarm for a hole that another instance met.
func (s *Service) tellHalted(ctx context.Context, elsewhere bool) {
	if elsewhere {
		s.log.ErrorContext(ctx, "another instance went on behind a hole of a conversation: nothing is purged")
		s.m.halted.Set(1)
		return
	}
	s.m.halted.Set(0)
	if s.halted.Load() { // it is this instance now
		s.m.halted.Set(1)
	}
}

// used reports whether space runs short, and raises the alarm.
func (s *Service) used(ctx context.Context, partition int, info backbone.LogInfo) bool {
	if info.MaxBytes == 0 {
		return false
	}
	part := float64(info.Bytes) / float64(info.MaxBytes)
	s.m.used.WithLabelValues(fmt.Sprint(partition)).Set(part)
	if part > fullness {
		s.log.WarnContext(ctx, "the log is filling up", obs.Partition, partition, "used", part)
	}
	return part > fullness
}

// halt stops purging for good; a human has to look.
func (s *Service) halt() {
	s.halted.Store(true)
	s.m.halted.Set(1)
}
