package inproc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// crossing is the context of a handler: the caller's deadline and cancellation, and none of its values.
type crossing struct{ caller context.Context }

// serverContext returns what the handler gets of the caller's context.
func serverContext(caller context.Context) context.Context {
	ctx := obs.CrossTrace(caller, crossing{caller})
	if id := calls.IdentityOf(caller); id != (calls.Identity{}) {
		ctx = calls.WithIdentity(ctx, id)
	}
	if id := calls.RequestID(caller); id != "" {
		ctx = calls.WithRequestID(ctx, id)
	}
	return ctx
}

func (c crossing) Deadline() (time.Time, bool) { return c.caller.Deadline() }
func (c crossing) Done() <-chan struct{}       { return c.caller.Done() }
func (c crossing) Err() error                  { return c.caller.Err() }
func (crossing) Value(any) any                 { return nil }

// AfterFunc spares package context the goroutine that it would start for each context derived from a foreign one.
func (c crossing) AfterFunc(f func()) func() bool { return context.AfterFunc(c.caller, f) }

// panicError is a panic of a handler.
type panicError struct {
	value any
	stack []byte
}

func newPanicError(v any) *panicError { return &panicError{v, debug.Stack()} }

// Error leaves the stack to the log.
func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// cross returns err as the caller gets it: a fault of its own with all public fields and without the cause. The cause
// is logged here, once, as it goes no further.
func (n *Network) cross(ctx context.Context, fullMethod string, err error) *fault.Error {
	f := *faultOf(fullMethod, err)
	n.logCause(ctx, fullMethod, &f)
	f.Fields = slices.Clone(f.Fields)
	f.Err = nil
	return &f
}

func (n *Network) logCause(ctx context.Context, fullMethod string, f *fault.Error) {
	if f.Err == nil {
		return
	}
	level := slog.LevelDebug // the caller's time-outs and what is the client's fault
	if f.Code == fault.Internal || f.Code == fault.Unimplemented {
		level = slog.LevelError
	} else if f.Code == fault.Unavailable && ctx.Err() == nil {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String(obs.Method, fullMethod), slog.String(obs.Reason, string(f.Reason)), slog.Any(obs.Err, f.Err),
		slog.String(obs.RequestID, calls.RequestID(ctx)),
	}
	if p := (*panicError)(nil); errors.As(f.Err, &p) {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	n.log.LogAttrs(ctx, level, "call failed", attrs...)
}

// faultOf is fault.Of, and knows the answer of generated code for a method that the service did not write.
func faultOf(fullMethod string, err error) *fault.Error {
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return f
	}
	if status.Code(err) == codes.Unimplemented {
		return fault.Wrap(err, fault.UnknownMethod, "method %s is not implemented", fullMethod)
	}
	return fault.Of(err)
}
