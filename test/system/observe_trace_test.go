package system

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/test/client"
)

// collector stands in for a collector of OpenTelemetry traces.
type collector struct {
	*httptest.Server

	mu    sync.Mutex
	raw   [][]byte
	spans []spanOf
}

type spanOf struct {
	service string
	*tracev1.Span
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var req collectorv1.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &req); err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "no traces", http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw = append(c.raw, body)
		for _, rs := range req.GetResourceSpans() {
			service := ""
			for _, a := range rs.GetResource().GetAttributes() {
				if a.GetKey() == "service.name" {
					service = a.GetValue().GetStringValue()
				}
			}
			for _, ss := range rs.GetScopeSpans() {
				for _, span := range ss.GetSpans() {
					c.spans = append(c.spans, spanOf{service, span})
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) everything() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Join(c.raw, []byte{'\n'})
}

// find returns the spans of a name that have an attribute.
func (c *collector) find(name, key, value string) (out []spanOf) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		for _, a := range s.GetAttributes() {
			if s.GetName() == name && a.GetKey() == key && a.GetValue().GetStringValue() == value {
				out = append(out, s)
			}
		}
	}
	return out
}

// trace returns the spans of a trace as "service: name".
func (c *collector) trace(id []byte) (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if bytes.Equal(s.GetTraceId(), id) {
			out = append(out, s.service+": "+s.GetName())
		}
	}
	return out
}

// One message makes two traces that name each other: its request, from the gateway to the log, and its own way, from the
// log to the device. All of it has left the process when it stops.
func TestTraceOfOneMessage(t *testing.T) {
	traces := newCollector(t)
	s := start(t, "--traces-endpoint", traces.URL, "--traces-sample", "1")
	ann, bob := s.user("ann"), s.user("bob")
	a, b := connect(t, ann), connect(t, bob)
	var sent struct{ MessageID string }
	err := a.Call(t.Context(), "message.send", client.Object{"clientMsgId": "m1", "toUserId": bob.ID, "text": client.Object{"text": "hi"}}, &sent)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.NextEntry(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	a.Close()
	b.Close()
	// In a cluster the writer may be ended before it has got to the message; the next start stores it.
	eventually(t, "everything is stored", func() bool { return s.metric("oceanchat_log_reader_lag_batches") == 0 })
	if code := s.stop(); code != 0 {
		t.Fatalf("exit code = %d; want 0", code)
	}
	const key = "oceanchat.message_id"
	appended, way := traces.find("log append", key, sent.MessageID), traces.find("message append", key, sent.MessageID)
	if len(appended) != 1 || len(way) != 1 {
		t.Fatalf("%d spans of the append and %d of the message's way; want one each", len(appended), len(way))
	}
	contains(t, "the request", traces.trace(appended[0].GetTraceId()),
		"oceanchat-ws-gateway: packet", "oceanchat-router: RouterService/Route", "oceanchat-message: MessageService/Send",
		"oceanchat-message: log append", "oceanchat-message: log publish")
	contains(t, "the message's way", traces.trace(way[0].GetTraceId()),
		"oceanchat-message: message append", "oceanchat-orchestrator: message orchestrated",
		"oceanchat-pusher-realtime: message pushed", "oceanchat-ws-gateway: message delivered",
		"oceanchat-persistence: message stored")
	if !linked(appended[0], way[0]) || !linked(way[0], appended[0]) {
		t.Error("the request and the message's way are not linked to each other")
	}
	request := ""
	for _, at := range way[0].GetAttributes() {
		if at.GetKey() == "oceanchat.request_id" {
			request = at.GetValue().GetStringValue()
		}
	}
	if packet := traces.find("packet", "oceanchat.request_id", request); len(packet) != 1 || request == "" {
		t.Errorf("request %q has %d spans at the gateway; want 1", request, len(packet))
	}
	if rest := traces.find("http request", "oceanchat.route", "/auth/login"); len(rest) != 2 {
		t.Errorf("%d spans of POST /auth/login; want 2", len(rest))
	}
}

func linked(from, to spanOf) bool {
	return slices.ContainsFunc(from.GetLinks(), func(l *tracev1.Span_Link) bool {
		return bytes.Equal(l.GetTraceId(), to.GetTraceId()) && bytes.Equal(l.GetSpanId(), to.GetSpanId())
	})
}

func contains(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("%s has no span %q; it has\n%s", what, w, strings.Join(got, "\n"))
		}
	}
}

// A collector that is away costs a counter: messages are sent and delivered, and the process stops in time.
func TestTraceCollectorIsAway(t *testing.T) {
	s := start(t, "--traces-endpoint", "http://"+freeAddr(t), "--traces-sample", "1")
	ann, bob := s.user("ann"), s.user("bob")
	b := connect(t, bob)
	for _, id := range []string{"m1", "m2", "m3"} {
		if err := send(t.Context(), ann, bob.ID, id, "hi"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.NextEntry(within(t, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "lost spans are counted", func() bool { return s.metric("oceanchat_traces_dropped_spans_total") > 0 })
	b.Close()
	if code := s.stop(); code != 0 {
		t.Errorf("exit code = %d; want 0", code)
	}
	processes := len(s.opsOfAll()) // of a cluster some have no spans to lose
	if n := strings.Count(s.output(), "the collector of traces takes no spans"); n < 1 || n > processes {
		t.Errorf("%d lines about the collector; want 1, or one of each of %d processes at most", n, processes)
	}
}
