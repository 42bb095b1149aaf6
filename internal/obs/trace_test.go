package obs_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/internal/obs"
)

// collector is a small OTLP collector over HTTP.
type collector struct {
	*httptest.Server

	mu    sync.Mutex
	spans map[string][]*tracev1.Span // by service
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{spans: map[string][]*tracev1.Span{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var req collectorv1.ExportTraceServiceRequest
		if r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &req) != nil {
			http.Error(w, "no traces", http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, rs := range req.GetResourceSpans() {
			service := ""
			for _, a := range rs.GetResource().GetAttributes() {
				if a.GetKey() == "service.name" {
					service = a.GetValue().GetStringValue()
				}
			}
			for _, ss := range rs.GetScopeSpans() {
				c.spans[service] = append(c.spans[service], ss.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// traced runs a Tracing while use works, stops it and returns what it logged and counted.
func traced(t *testing.T, cfg obs.TraceConfig, use func(*obs.Tracing)) (log string, reg *prometheus.Registry) {
	t.Helper()
	var out bytes.Buffer
	reg = prometheus.NewRegistry()
	tracing := obs.NewTracing(cfg, "v1", slog.New(slog.NewTextHandler(&out, nil)), reg)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- tracing.Run(ctx, func() { close(ready) }) }()
	<-ready
	use(tracing)
	cancel()
	if err := <-ended; err != nil {
		t.Fatalf("Run = %v; want nil", err)
	}
	return out.String(), reg
}

// A request's spans reach the collector when the process stops, with the service that made them.
func TestTracingExportsAtTheEnd(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	_, reg := traced(t, obs.TraceConfig{Endpoint: c.URL, Sample: 1}, func(tr *obs.Tracing) {
		ctx, outer := tr.Tracer("api-gateway").Start(t.Context(), "http request", "r1")
		crossed := obs.CrossTrace(ctx, t.Context())
		_, inner := tr.Tracer("message").Within(crossed, "MessageService/Send")
		inner.Fail("OVERLOADED")
		inner.End()
		outer.End()
		if _, none := tr.Tracer("message").Within(t.Context(), "x"); none.Recording() {
			t.Error("Within without a trace began one")
		}
	})
	out, in := c.spans["oceanchat-api-gateway"], c.spans["oceanchat-message"]
	if len(out) != 1 || len(in) != 1 {
		t.Fatalf("the collector got %v; want one span of each service", c.spans)
	}
	if !bytes.Equal(in[0].GetTraceId(), out[0].GetTraceId()) || !bytes.Equal(in[0].GetParentSpanId(), out[0].GetSpanId()) {
		t.Errorf("the call's span %v is not below the request's %v", in[0], out[0])
	}
	if a := attributes(out[0]); a["oceanchat.request_id"] != "r1" {
		t.Errorf("attributes = %v; want the request's id", a)
	}
	if in[0].GetStatus().GetMessage() != "OVERLOADED" {
		t.Errorf("status = %v; want OVERLOADED", in[0].GetStatus())
	}
	if n := testutil.CollectAndCount(reg, "oceanchat_traces_exported_spans_total"); n != 1 {
		t.Errorf("exported spans are counted in %d series; want 1", n)
	}
}

func attributes(s *tracev1.Span) map[string]string {
	all := map[string]string{}
	for _, a := range s.GetAttributes() {
		all[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return all
}

// The stages of a message's way find each other by the message's id alone, even from different processes.
func TestMessageTrace(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	log := slog.New(slog.DiscardHandler)
	one := func(tr *obs.Tracing) {
		ctx, request := tr.Tracer("message").Start(t.Context(), "log append", "r1")
		tr.Tracer("message").Appended(ctx, "m1", "r1", time.Now())
		request.End()
	}
	other := func(tr *obs.Tracing) {
		tr.Tracer("orchestrator").Passed(t.Context(), log, "orchestrated", "m1", time.Now())
	}
	traced(t, obs.TraceConfig{Endpoint: c.URL, Sample: 1}, one)
	traced(t, obs.TraceConfig{Endpoint: c.URL, Sample: 1}, other)
	var request, root *tracev1.Span
	for _, s := range c.spans["oceanchat-message"] {
		if s.GetName() == "message append" {
			root = s
		} else {
			request = s
		}
	}
	stage := c.spans["oceanchat-orchestrator"][0]
	if !bytes.Equal(stage.GetTraceId(), root.GetTraceId()) || !bytes.Equal(stage.GetParentSpanId(), root.GetSpanId()) {
		t.Errorf("the stage %v is not below the append %v", stage, root)
	}
	if a := attributes(root); a["oceanchat.request_id"] != "r1" || a["oceanchat.message_id"] != "m1" {
		t.Errorf("attributes of the append = %v; want request and message", a)
	}
	if len(request.GetLinks()) != 1 || !bytes.Equal(request.GetLinks()[0].GetTraceId(), root.GetTraceId()) ||
		len(root.GetLinks()) != 1 || !bytes.Equal(root.GetLinks()[0].GetTraceId(), request.GetTraceId()) {
		t.Errorf("links: request %v, message %v; want each to the other", request.GetLinks(), root.GetLinks())
	}
}

// Whether a message's way is traced is decided by its id, so all stages agree.
func TestMessageTraceSampling(t *testing.T) {
	t.Parallel()
	c := newCollector(t)
	log := slog.New(slog.DiscardHandler)
	traced(t, obs.TraceConfig{Endpoint: c.URL, Sample: 0.1}, func(tr *obs.Tracing) {
		for i := range 1000 {
			id := strings.Repeat("m", i%7) + time.Duration(i).String()
			tr.Tracer("message").Appended(t.Context(), id, "r", time.Now())
			tr.Tracer("orchestrator").Passed(t.Context(), log, "orchestrated", id, time.Now())
		}
	})
	appended, passed := c.spans["oceanchat-message"], c.spans["oceanchat-orchestrator"]
	if n := len(appended); n < 50 || n > 170 || len(passed) != n {
		t.Errorf("%d appends and %d stages of 1000 are traced; want about 100, and as many of each", n, len(passed))
	}
}

// A collector that is away costs spans, one line in a while and a counter; nobody waits and nothing piles up.
func TestDeadCollector(t *testing.T) {
	t.Parallel()
	dead := httptest.NewServer(nil)
	dead.Close()
	log, reg := traced(t, obs.TraceConfig{Endpoint: dead.URL, Sample: 1}, func(tr *obs.Tracing) {
		for range 20_000 {
			_, s := tr.Tracer("message").Start(t.Context(), "x", "")
			s.End()
		}
	})
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lost float64
	for _, f := range families {
		if f.GetName() == "oceanchat_traces_dropped_spans_total" {
			for _, m := range f.GetMetric() {
				lost += m.GetCounter().GetValue()
			}
		}
	}
	if lost != 20_000 {
		t.Errorf("%g of 20000 spans counted as dropped; want all", lost)
	}
	if n := strings.Count(log, "\n"); n != 1 {
		t.Errorf("%d lines about it; want 1:\n%.2000s", n, log)
	}
}

// A collector that takes requests and never answers holds up the stop for a moment only.
func TestSilentCollector(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}))
	defer silent.Close()
	defer close(over)
	_, reg := traced(t, obs.TraceConfig{Endpoint: silent.URL, Sample: 1}, func(tr *obs.Tracing) {
		_, s := tr.Tracer("message").Start(t.Context(), "x", "")
		s.End()
	})
	want := `
# HELP oceanchat_traces_dropped_spans_total Spans lost, by cause: queue (more than could be exported), collector (it did not take them).
# TYPE oceanchat_traces_dropped_spans_total counter
oceanchat_traces_dropped_spans_total{cause="collector"} 1
oceanchat_traces_dropped_spans_total{cause="queue"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "oceanchat_traces_dropped_spans_total"); err != nil {
		t.Error(err)
	}
}

func TestTraceConfigValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		endpoint string
		ok       bool
	}{
		{"", true},
		{"http://localhost:4318", true},
		{"https://collector.example.com/tenant/v1/traces", true},
		{"localhost:4318", false},
		{"grpc://localhost:4317", false},
		{"http://user:secret@localhost:4318", false},
		{"http://localhost:4318?key=secret", false},
	}
	for _, tt := range tests {
		if err := (obs.TraceConfig{Endpoint: tt.endpoint}).Validate(); (err == nil) != tt.ok {
			t.Errorf("Validate(%q) = %v; want ok %t", tt.endpoint, err, tt.ok)
		}
	}
	if obs.NewTracing(obs.TraceConfig{}, "v1", slog.New(slog.DiscardHandler), prometheus.NewRegistry()) != nil {
		t.Error("NewTracing without an endpoint; want nil")
	}
}

// off is what every stage does when no endpoint is set.
func off(ctx context.Context, tr *obs.Tracer, log *slog.Logger, began time.Time) {
	ctx, outer := tr.Start(ctx, "http request", "r1")
	ctx, inner := tr.Within(obs.CrossTrace(ctx, ctx), "call")
	inner.Set("message_id", "m1")
	inner.Count("entries", 1)
	inner.Fail("OVERLOADED")
	inner.Link(outer)
	tr.Appended(ctx, "m1", "r1", began)
	tr.Passed(ctx, log, "orchestrated", "m1", began)
	inner.End()
	outer.End()
}

// Without an endpoint tracing costs no memory at all.
func TestTracingOffAllocatesNothing(t *testing.T) {
	var none *obs.Tracing
	tr, log, began, ctx := none.Tracer("message"), obs.NewLogger(io.Discard, obs.Text, slog.LevelInfo), time.Now(), t.Context()
	if n := testing.AllocsPerRun(100, func() { off(ctx, tr, log, began) }); n != 0 {
		t.Errorf("%g allocations with tracing off; want 0", n)
	}
}

func BenchmarkTracingOff(b *testing.B) {
	var none *obs.Tracing
	tr, log, began, ctx := none.Tracer("message"), obs.NewLogger(io.Discard, obs.Text, slog.LevelInfo), time.Now(), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		off(ctx, tr, log, began)
	}
}
