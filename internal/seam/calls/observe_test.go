package calls_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

const send = "/oceanchat.message.v1.MessageService/Send"

func TestObserverCounts(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	o := calls.NewObserver(nil, slog.New(slog.DiscardHandler), reg)
	for _, err := range []error{
		nil, nil, fault.New(fault.LogFull, "x"), errors.New("disk"), &fault.Error{Code: fault.NotFound, Reason: "FROM_A_NEWER_VERSION"},
	} {
		_, serving := o.Serve(t.Context(), send)
		serving.Done(err)
	}
	_, under := o.Serve(t.Context(), send)
	want := `
# HELP oceanchat_calls_in_flight Calls that a service works on.
# TYPE oceanchat_calls_in_flight gauge
oceanchat_calls_in_flight{service="message"} 1
# HELP oceanchat_calls_total Calls between services by the service that answered, method, and reason; OK is none.
# TYPE oceanchat_calls_total counter
oceanchat_calls_total{method="MessageService/Send",reason="INTERNAL",service="message"} 1
oceanchat_calls_total{method="MessageService/Send",reason="LOG_FULL",service="message"} 1
oceanchat_calls_total{method="MessageService/Send",reason="OK",service="message"} 2
oceanchat_calls_total{method="MessageService/Send",reason="OTHER",service="message"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "oceanchat_calls_total", "oceanchat_calls_in_flight"); err != nil {
		t.Error(err)
	}
	under.Done(nil)
}

// A call that is watched, but not traced nor logged, costs no memory; a nil Observer neither.
func TestObserverAllocatesNothing(t *testing.T) {
	ctx := t.Context()
	for name, o := range map[string]*calls.Observer{
		"nil": nil, "counting": calls.NewObserver(nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry()),
	} {
		n := testing.AllocsPerRun(100, func() {
			_, serving := o.Serve(ctx, send)
			serving.Done(nil)
		})
		if n != 0 {
			t.Errorf("%s: %g allocations per call; want 0", name, n)
		}
	}
}

func BenchmarkObserver(b *testing.B) {
	o, ctx := calls.NewObserver(nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry()), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		_, serving := o.Serve(ctx, send)
		serving.Done(nil)
	}
}
