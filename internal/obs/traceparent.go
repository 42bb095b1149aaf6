package obs

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// The names under which a span crosses to another process, after the W3C's recommendation "Trace Context".
const (
	traceParent = "traceparent"
	traceState  = "tracestate"
)

// TraceParent returns the span that ctx is in, in the words of W3C Trace Context; both are empty when it is in none.
func TraceParent(ctx context.Context) (parent, state string) {
	var c carrier
	propagation.TraceContext{}.Inject(ctx, &c)
	return c.parent, c.state
}

// WithTraceParent returns ctx as a context of the span that TraceParent named in another process. What is not
// well-formed is no span.
func WithTraceParent(ctx context.Context, parent, state string) context.Context {
	if parent == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, &carrier{parent, state})
}

// carrier holds the two values.
type carrier struct{ parent, state string }

var _ propagation.TextMapCarrier = (*carrier)(nil)

// Get returns a value.
func (c *carrier) Get(key string) string {
	switch key {
	case traceParent:
		return c.parent
	case traceState:
		return c.state
	}
	return ""
}

// Set keeps a value.
func (c *carrier) Set(key, value string) {
	switch key {
	case traceParent:
		c.parent = value
	case traceState:
		c.state = value
	}
}

// Keys returns both names.
func (*carrier) Keys() []string { return []string{traceParent, traceState} }
