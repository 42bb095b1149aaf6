package convlog

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// Metrics are what the log counts. A nil Metrics counts nothing. It is safe for concurrent use.
type Metrics struct {
	appends        *prometheus.CounterVec
	publishes      *prometheus.CounterVec
	alarms         *prometheus.CounterVec
	appendSeconds  prometheus.Histogram
	publishSeconds prometheus.Histogram
	batchEntries   prometheus.Histogram
	batchBytes     prometheus.Histogram
}

// The kinds of alarms and the outcomes of a publish. An alarm needs the zero before the first one.
var (
	alarmKinds = []string{"corrupt_batch", "epoch_raised", "log_full", "log_set_back"}
	outcomes   = []string{"committed", "conflict", "full", "refused", "unknown"}
)

// NewMetrics returns Metrics that are shown by reg.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "oceanchat", Subsystem: "log", Name: name, Help: help}
	}
	vec := func(name, help, label string, values []string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		reg.MustRegister(v)
		return v
	}
	hist := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "oceanchat", Subsystem: "log", Name: name, Help: help, Buckets: buckets,
		})
		reg.MustRegister(h)
		return h
	}
	seconds := []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	return &Metrics{
		appends:        vec("appends_total", "Appends by reason; OK was acknowledged, STALE_PERMIT is tried again by message.", "reason", []string{"OK", string(fault.LogFull)}),
		publishes:      vec("publishes_total", "Attempts to publish a batch by outcome; unknown is read and tried again.", "outcome", outcomes),
		alarms:         vec("alarms_total", "What must not happen to the log, by kind.", "kind", alarmKinds),
		appendSeconds:  hist("append_seconds", "From an entry's arrival at the log to its outcome.", seconds),
		publishSeconds: hist("publish_seconds", "One attempt to publish a batch, with the disk.", seconds),
		batchEntries:   hist("batch_entries", "Entries in a published batch.", prometheus.ExponentialBuckets(1, 2, 9)),
		batchBytes:     hist("batch_bytes", "Bytes of a published batch.", prometheus.ExponentialBuckets(256, 4, 6)),
	}
}

// Alarm counts one; it is what New wants.
func (m *Metrics) Alarm(kind string) { m.alarms.WithLabelValues(kind).Inc() }

func (m *Metrics) appended(began time.Time, err error) {
	if m == nil {
		return
	}
	m.appends.WithLabelValues(reasonOf(err)).Inc()
	m.appendSeconds.Observe(time.Since(began).Seconds())
}

func reasonOf(err error) string {
	switch {
	case err == nil:
		return "OK"
	case errors.Is(err, ErrStalePermit):
		return "STALE_PERMIT"
	}
	return string(fault.ReasonOf(err))
}

func (m *Metrics) published(b *inflight, began time.Time, err error) {
	if m == nil {
		return
	}
	outcome := "unknown"
	switch {
	case err == nil:
		outcome = "committed"
	case errors.Is(err, backbone.ErrConflict):
		outcome = "conflict"
	case errors.Is(err, backbone.ErrFull):
		outcome = "full"
	case errors.Is(err, backbone.ErrRefused):
		outcome = "refused"
	}
	m.publishes.WithLabelValues(outcome).Inc()
	m.publishSeconds.Observe(time.Since(began).Seconds())
	m.batchEntries.Observe(float64(len(b.entries)))
	m.batchBytes.Observe(float64(len(b.data)))
}

// watched is append with its metrics, its span and its debug line, which joins the request's id with the message's.
func (p *partition) watched(ctx context.Context, d Draft) (Result, error) {
	began := time.Now()
	ctx, span := p.cfg.Trace.Within(ctx, "log append")
	res, err := p.append(ctx, d)
	p.cfg.Metrics.appended(began, err)
	if err != nil {
		span.Fail(reasonOf(err))
	} else {
		p.cfg.Trace.Appended(ctx, string(res.MessageID), obs.RequestOf(ctx), began)
	}
	span.End()
	if p.log.Enabled(ctx, slog.LevelDebug) {
		p.log.LogAttrs(ctx, slog.LevelDebug, "append", slog.String(obs.RequestID, obs.RequestOf(ctx)),
			slog.String(obs.MessageID, string(res.MessageID)), slog.Uint64(obs.Seq, res.Seq), slog.String(obs.Reason, reasonOf(err)),
			slog.Duration(obs.Took, time.Since(began)))
	}
	return res, err
}

// watch makes a span of one attempt to publish, known to the spans of the appends in the batch; done ends it.
func (a *appender) watch(ctx context.Context, b *inflight) (done func(error)) {
	began, span := time.Now(), obs.Span{}
	for _, r := range b.requests {
		if a.cfg.Trace == nil {
			break
		}
		request := obs.SpanOf(r.ctx)
		if !request.Recording() {
			continue
		}
		if !span.Recording() {
			_, span = a.cfg.Trace.Start(obs.CrossTrace(r.ctx, ctx), "log publish", "")
			span.Count("entries", len(b.entries))
			span.Count("bytes", len(b.data))
			span.Count(obs.Partition, a.index)
			continue
		}
		span.Link(request)
	}
	return func(err error) {
		a.cfg.Metrics.published(b, began, err)
		if err != nil {
			span.Fail("not committed")
		}
		span.End()
	}
}

// gauges shows the state of all partitions when it is asked for.
type gauges struct {
	log                                     *Log
	waiting, position, stored, tail, recent *prometheus.Desc
	heads, ids                              *prometheus.Desc
}

var _ prometheus.Collector = (*gauges)(nil)

// Gauges returns what l holds per partition, as metrics.
func (l *Log) Gauges() prometheus.Collector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("oceanchat_log_"+name, help, []string{"partition"}, nil)
	}
	return &gauges{
		log:      l,
		waiting:  desc("waiting_appends", "Appends that are not answered yet; above the bound they are refused with OVERLOADED."),
		position: desc("position", "Position of the last batch that the appender knows."),
		stored:   desc("stored_position", "Position up to which the appender knows everything to be in the database."),
		tail:     desc("tail_batches", "Batches that the appender keeps because they are not known to be stored."),
		recent:   desc("tail_bytes", "Bytes of those batches that are in memory for reading."),
		heads:    desc("heads", "Conversations whose end is in memory."),
		ids:      desc("remembered_ids", "clientMsgIds that are remembered."),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{g.waiting, g.position, g.stored, g.tail, g.recent, g.heads, g.ids} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	for _, p := range g.log.parts {
		f := p.fold
		f.mu.RLock()
		values := map[*prometheus.Desc]float64{
			g.waiting: float64(p.inside.Load()), g.position: float64(f.position), g.stored: float64(f.stored),
			g.tail: float64(len(f.queue)), g.recent: float64(f.recent.bytes), g.heads: float64(len(f.heads)), g.ids: float64(len(f.ids.young) + len(f.ids.old)),
		}
		f.mu.RUnlock()
		for d, v := range values {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, strconv.Itoa(p.index))
		}
	}
}
