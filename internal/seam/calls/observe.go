package calls

import (
	"context"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
)

// Observer watches the calls that a Host serves: it counts and times them, writes a debug line for each, and makes a
// span of those that belong to a traced request. Of the calls that this process makes it counts those that the network repeats. A nil Observer does nothing. It is safe for concurrent use.
type Observer struct {
	log     *slog.Logger
	tracing *obs.Tracing

	answers  *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec
	repeats  *prometheus.CounterVec

	mu      sync.Mutex // serialises additions to methods
	methods atomic.Pointer[map[string]*observed]
}

// observed is one method with its metrics at hand.
type observed struct {
	service, method string
	span            string
	tracer          *obs.Tracer
	ok              prometheus.Counter
	seconds         prometheus.Observer
	inFlight        prometheus.Gauge
}

// NewObserver returns an Observer that counts in reg. tracing may be nil.
func NewObserver(tracing *obs.Tracing, log *slog.Logger, reg prometheus.Registerer) *Observer {
	o := &Observer{
		log: log, tracing: tracing,
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oceanchat_calls_total", Help: "Calls between services by the service that answered, method, and reason; OK is none.",
		}, []string{"service", "method", "reason"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "oceanchat_calls_seconds", Help: "How long a service took to answer a call.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"service", "method"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "oceanchat_calls_in_flight", Help: "Calls that a service works on.",
		}, []string{"service"}),
		repeats: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oceanchat_calls_repeated_total", Help: "Calls without side effects of which one more instance of the service was asked, as one did not answer in time.",
		}, []string{"service"}),
	}
	o.methods.Store(&map[string]*observed{})
	reg.MustRegister(o.answers, o.seconds, o.inFlight, o.repeats)
	return o
}

// Repeat counts a call that is asked of one more instance.
func (o *Observer) Repeat(fullMethod string) {
	if o != nil {
		o.repeats.WithLabelValues(Target(fullMethod)).Inc()
	}
}

// Serving is a call that is being served. The zero Serving is not watched.
type Serving struct {
	o     *Observer
	m     *observed
	ctx   context.Context //nolint:containedctx // of the one call that it lives for
	span  obs.Span
	began time.Time
}

// Serve begins to watch a call of a method that is served; a name that clients made up must not come here, as it
// becomes a label. The context is the handler's. Call Done with its outcome.
func (o *Observer) Serve(ctx context.Context, fullMethod string) (context.Context, Serving) {
	if o == nil {
		return ctx, Serving{}
	}
	m := o.method(fullMethod)
	m.inFlight.Inc()
	ctx, span := m.tracer.Within(ctx, m.span)
	return ctx, Serving{o, m, ctx, span, time.Now()}
}

// Done ends it. err is as the caller gets it.
func (s Serving) Done(err error) {
	if s.o == nil {
		return
	}
	took := time.Since(s.began)
	s.m.inFlight.Dec()
	s.m.seconds.Observe(took.Seconds())
	reason := "OK"
	if err == nil {
		s.m.ok.Inc()
	} else {
		reason = string(label(fault.ReasonOf(err)))
		s.o.answers.WithLabelValues(s.m.service, s.m.method, reason).Inc()
		s.span.Fail(reason)
	}
	s.span.End()
	if s.o.log.Enabled(s.ctx, slog.LevelDebug) {
		s.o.log.LogAttrs(s.ctx, slog.LevelDebug, "call", slog.String(obs.Service, s.m.service), slog.String(obs.Method, s.m.method),
			slog.String(obs.Reason, reason), slog.Duration(obs.Took, took), slog.String(obs.RequestID, RequestID(s.ctx)))
	}
}

// label bounds the reasons: those of a newer version's services are one.
func label(r fault.Reason) fault.Reason {
	if r.Code() == fault.Internal && r != fault.InternalReason {
		return "OTHER"
	}
	return r
}

func (o *Observer) method(fullMethod string) *observed {
	if m := (*o.methods.Load())[fullMethod]; m != nil {
		return m
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	all := maps.Clone(*o.methods.Load())
	if all[fullMethod] == nil {
		all[fullMethod] = o.observe(fullMethod)
		o.methods.Store(&all)
	}
	return all[fullMethod]
}

// observe names a method "MessageService/Send" of service "message".
func (o *Observer) observe(fullMethod string) *observed {
	service := Target(fullMethod)
	if service == "" {
		service = "other"
	}
	method := fullMethod[strings.LastIndexByte(fullMethod, '.')+1:]
	return &observed{
		service: service, method: method, span: method, tracer: o.tracing.Tracer(service),
		ok:       o.answers.WithLabelValues(service, method, "OK"),
		seconds:  o.seconds.WithLabelValues(service, method),
		inFlight: o.inFlight.WithLabelValues(service),
	}
}
