package obs

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TraceConfig is the "traces" section of the configuration.
type TraceConfig struct {
	Endpoint string  `yaml:"endpoint" doc:"URL of a collector of OpenTelemetry traces that takes OTLP over HTTP, such as http://localhost:4318; without a path, /v1/traces is asked. Empty: no traces, at no cost."`
	Sample   float64 `yaml:"sample" default:"0.01" min:"0" max:"1" doc:"Part of the requests, and of the messages on their way to devices, that are traced; 1 is all."`
}

// Validate checks the endpoint.
func (c TraceConfig) Validate() error {
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
		return fmt.Errorf("endpoint = %q: want an http or https URL without credentials or query", c.Endpoint)
	}
	return nil
}

// Keys of span attributes beside those of the log. Attributes hold ids and numbers, never text, names or tokens.
const (
	scope        = "github.com/oceanchat/oceanchat"
	attrRequest  = "oceanchat.request_id"
	attrMessage  = "oceanchat.message_id"
	attrReason   = "oceanchat.reason"
	attrPrefix   = "oceanchat."
	queuedSpans  = 4096 // spans that wait for the collector; more are dropped and counted
	exportSpans  = 512
	exportEvery  = 2 * time.Second
	exportWithin = 5 * time.Second // one export
	flushWithin  = 3 * time.Second // what is left when the process stops, with an export under way
)

// Tracing makes spans and hands them to a collector. A nil Tracing is off: its tracers are nil, and they do nothing and
// allocate nothing. No span ever waits for the collector: what it does not take is dropped and counted.
type Tracing struct {
	export  sdktrace.SpanExporter
	sampler sdktrace.Sampler
	version string
	log     *slog.Logger
	quiet   *Limiter
	queue   chan sdktrace.ReadOnlySpan
	stopped chan struct{} // closed when Run has ended: nobody takes from queue any more

	exported prometheus.Counter
	dropped  *prometheus.CounterVec

	mu      sync.Mutex // guards tracers
	tracers map[string]*Tracer
}

// NewTracing returns a Tracing that exports nothing before Run, or nil if cfg has no endpoint. Headers that a collector
// wants are taken from OTEL_EXPORTER_OTLP_HEADERS, as its exporter does everywhere.
func NewTracing(cfg TraceConfig, version string, log *slog.Logger, reg prometheus.Registerer) *Tracing {
	if cfg.Endpoint == "" {
		return nil
	}
	if u, err := url.Parse(cfg.Endpoint); err == nil && strings.Trim(u.Path, "/") == "" {
		cfg.Endpoint = u.JoinPath("v1", "traces").String()
	}
	t := &Tracing{
		export: otlptracehttp.NewUnstarted(
			otlptracehttp.WithEndpointURL(cfg.Endpoint), otlptracehttp.WithTimeout(exportWithin),
			otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}), // a full queue is bounded, an outage is not
		),
		sampler: sdktrace.TraceIDRatioBased(cfg.Sample), version: version, log: log, quiet: Every(time.Minute),
		queue: make(chan sdktrace.ReadOnlySpan, queuedSpans), stopped: make(chan struct{}), tracers: map[string]*Tracer{},
		exported: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oceanchat_traces_exported_spans_total", Help: "Spans that the collector took.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oceanchat_traces_dropped_spans_total",
			Help: "Spans lost, by cause: queue (more than could be exported), collector (it did not take them).",
		}, []string{"cause"}),
	}
	for _, cause := range []string{"queue", "collector"} {
		t.dropped.WithLabelValues(cause)
	}
	reg.MustRegister(t.exported, t.dropped)
	return t
}

// Run exports spans until ctx ends, then what is left, for three seconds at most.
func (t *Tracing) Run(ctx context.Context, ready func()) error {
	defer close(t.stopped)
	export, give := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx, so that the last spans go out
	defer give()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(flushWithin, give) })()
	starter, ok := t.export.(interface {
		Start(ctx context.Context) error
	})
	if ok {
		if err := starter.Start(ctx); err != nil {
			return fmt.Errorf("start the exporter of traces: %w", err)
		}
	}
	ready()
	tick := time.NewTicker(exportEvery)
	defer tick.Stop()
	var batch []sdktrace.ReadOnlySpan
	for {
		select {
		case s := <-t.queue:
			if batch = append(batch, s); len(batch) < exportSpans {
				continue
			}
		case <-tick.C:
		case <-ctx.Done():
			t.flush(export, batch)
			return nil
		}
		t.send(export, batch)
		batch = batch[:0]
	}
}

// flush exports what is left.
func (t *Tracing) flush(ctx context.Context, batch []sdktrace.ReadOnlySpan) {
	for left := len(t.queue); left > 0; left-- {
		batch = append(batch, <-t.queue)
	}
	for len(batch) > 0 {
		n := min(len(batch), exportSpans)
		t.send(ctx, batch[:n])
		batch = batch[n:]
	}
	_ = t.export.Shutdown(ctx) // nothing is held back
}

func (t *Tracing) send(ctx context.Context, batch []sdktrace.ReadOnlySpan) {
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, exportWithin)
	defer cancel()
	if err := t.export.ExportSpans(ctx, batch); err != nil {
		t.dropped.WithLabelValues("collector").Add(float64(len(batch)))
		if n, ok := t.quiet.Allow("collector"); ok {
			t.log.WarnContext(ctx, "the collector of traces takes no spans; they are dropped", Err, err, Suppressed, n)
		}
		return
	}
	t.exported.Add(float64(len(batch)))
}

// queued is the sink of all spans.
type queued struct{ *Tracing }

var _ sdktrace.SpanProcessor = queued{}

// OnStart does nothing.
func (queued) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd queues a span, or drops it.
func (q queued) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	select {
	case <-q.stopped:
	default:
		select {
		case q.queue <- s:
			return
		default:
		}
	}
	q.dropped.WithLabelValues("queue").Inc()
}

// Shutdown does nothing: Run ends with its context.
func (queued) Shutdown(context.Context) error { return nil }

// ForceFlush does nothing.
func (queued) ForceFlush(context.Context) error { return nil }

// Tracer returns the tracer of a target, whose spans come from the service oceanchat-<target>.
func (t *Tracing) Tracer(target string) *Tracer {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tracers[target] == nil {
		p := sdktrace.NewTracerProvider(
			sdktrace.WithSampler(sdktrace.ParentBased(t.sampler)), sdktrace.WithIDGenerator(ids{}), sdktrace.WithSpanProcessor(queued{t}),
			sdktrace.WithResource(resource.NewSchemaless(
				attribute.String("service.name", "oceanchat-"+target), attribute.String("service.version", t.version))),
		)
		t.tracers[target] = &Tracer{p.Tracer(scope), t.sampler}
	}
	return t.tracers[target]
}

// Tracer makes the spans of one target. A nil Tracer makes none. It is safe for concurrent use.
type Tracer struct {
	spans   trace.Tracer
	sampler sdktrace.Sampler
}

// Start begins a span below the one in ctx, or one of a new trace. requestID, if not empty, is what the log's lines of
// the request have too. The Span must be ended.
func (t *Tracer) Start(ctx context.Context, name, requestID string) (context.Context, Span) {
	if t == nil {
		return ctx, Span{}
	}
	ctx, s := t.spans.Start(ctx, name)
	span := Span{s}
	if requestID != "" {
		span.Set("request_id", requestID)
	}
	return ctx, span
}

// Within begins a span below the one in ctx; without one it begins none.
func (t *Tracer) Within(ctx context.Context, name string) (context.Context, Span) {
	if t == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, Span{}
	}
	ctx, s := t.spans.Start(ctx, name)
	return ctx, Span{s}
}

// Span is one piece of work. The zero Span is none, and its methods do nothing.
type Span struct{ s trace.Span }

// SpanOf returns the span that ctx is in.
func SpanOf(ctx context.Context) Span {
	if s := trace.SpanFromContext(ctx); s.IsRecording() {
		return Span{s}
	}
	return Span{}
}

// Recording reports whether anybody will see the span; what is costly to find out is not worth it otherwise.
func (s Span) Recording() bool { return s.s != nil && s.s.IsRecording() }

// Set notes an id under a key of the log. Values must not be text, names or secrets.
func (s Span) Set(key, value string) {
	if s.Recording() {
		s.s.SetAttributes(attribute.String(attrPrefix+key, value))
	}
}

// Count notes a number.
func (s Span) Count(key string, n int) {
	if s.Recording() {
		s.s.SetAttributes(attribute.Int(attrPrefix+key, n))
	}
}

// Fail marks the span as failed for a stable reason; the words of an error may hold what a trace must not.
func (s Span) Fail(reason string) {
	if s.Recording() {
		s.s.SetStatus(codes.Error, reason)
		s.s.SetAttributes(attribute.String(attrReason, reason))
	}
}

// Link makes two spans of different traces known to each other.
func (s Span) Link(other Span) {
	if s.Recording() && other.Recording() {
		s.s.AddLink(trace.Link{SpanContext: other.s.SpanContext()})
		other.s.AddLink(trace.Link{SpanContext: s.s.SpanContext()})
	}
}

// End ends the span.
func (s Span) End() {
	if s.s != nil {
		s.s.End()
	}
}

// A message's way to devices is a trace of its own, as nothing about a request travels with the log's entries. Its ids
// are derived from the message's id, so every stage in every process knows them, and whether the trace is sampled.
func (t *Tracer) message(id string) trace.SpanContext {
	sum := sha256.Sum256([]byte("oceanchat message " + id))
	c := trace.SpanContextConfig{TraceID: trace.TraceID(sum[:16]), SpanID: trace.SpanID(sum[16:24]), Remote: true}
	if t.sampler.ShouldSample(sdktrace.SamplingParameters{TraceID: c.TraceID}).Decision == sdktrace.RecordAndSample {
		c.TraceFlags = trace.FlagsSampled
	}
	return trace.NewSpanContext(c)
}

// Appended records the first stage of a message's way, from began to now, and ties it to the span of the request in ctx.
func (t *Tracer) Appended(ctx context.Context, id, requestID string, began time.Time) {
	if t == nil {
		return
	}
	request := SpanOf(ctx)
	request.Set("message_id", id)
	way := t.message(id)
	if way.IsSampled() {
		_, s := t.spans.Start(context.WithValue(context.Background(), idsKey{}, way), "message append", //nolint:contextcheck // a trace of its own
			trace.WithTimestamp(began), trace.WithAttributes(attribute.String(attrMessage, id), attribute.String(attrRequest, requestID)))
		request.Link(Span{s})
		s.End()
	}
}

// Passed writes the debug line of a stage that a message has passed since began, and records its span. Both show the
// message's id, by which they are joined with the request that sent it.
func (t *Tracer) Passed(ctx context.Context, log *slog.Logger, stage, id string, began time.Time) {
	if log.Enabled(ctx, slog.LevelDebug) {
		log.LogAttrs(ctx, slog.LevelDebug, "message "+stage, slog.String(MessageID, id), slog.Duration(Took, time.Since(began))) //nolint:sloglint // stages are few, and constants of their callers
	}
	if t == nil || id == "" {
		return
	}
	way := t.message(id)
	if !way.IsSampled() {
		return
	}
	_, s := t.spans.Start(trace.ContextWithRemoteSpanContext(context.Background(), way), "message "+stage, //nolint:contextcheck // a trace of its own
		trace.WithTimestamp(began), trace.WithAttributes(attribute.String(attrMessage, id)))
	s.End()
}

// CrossTrace returns to as a context of the span that from is in: what crosses from a caller to who serves the call.
func CrossTrace(from, to context.Context) context.Context {
	if s := trace.SpanFromContext(from); s.SpanContext().IsValid() {
		return trace.ContextWithSpan(to, s)
	}
	return to
}

type idsKey struct{}

// ids makes random ids, but for the root of a message's way.
type ids struct{}

var _ sdktrace.IDGenerator = ids{}
