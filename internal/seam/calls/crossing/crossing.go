// Package crossing is what the implementations of the calls seam have in common: the table of methods that generated
// code registers, how an error becomes the fault that its caller gets, and how a context and a fault are put into words
// for another process. It owns those words; it opens no connection and starts no goroutine, and services never see it.
//
// It keeps invariant 9: a cause is logged on its own side, once, and does not cross.
package crossing

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

// RetryAfter is the advice when nobody serves a service (yet): what starts or is replaced is up within moments.
const RetryAfter = time.Second

// MaxBytes is the longest request or answer between processes: 8 MiB, which is what NATS servers of a cluster let pass
// and gRPC is set to, less room for headers.
const MaxBytes = 8<<20 - 64<<10

// MaxUnbounded bounds a call between processes whose caller set no deadline: an answer may be lost on the way.
const MaxUnbounded = 30 * time.Second

// ErrStreams answers whoever asks for a stream.
var ErrStreams = errors.New("streams are not supported by the calls seam")

// panicError is a panic of a handler.
type panicError struct {
	value any
	stack []byte
}

func newPanicError(v any) *panicError { return &panicError{v, debug.Stack()} }

// Error leaves the stack to the log.
func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// Fault returns err as the caller gets it: a fault of its own with all public fields and without the cause. The cause
// is logged here, once, as it goes no further. ctx is the call's.
func Fault(ctx context.Context, log *slog.Logger, fullMethod string, err error) *fault.Error {
	f := *faultOf(fullMethod, err)
	logCause(ctx, log, fullMethod, &f)
	f.Fields = slices.Clone(f.Fields)
	f.Err = nil
	return &f
}

func logCause(ctx context.Context, log *slog.Logger, fullMethod string, f *fault.Error) {
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
	log.LogAttrs(ctx, level, "call failed", attrs...)
}

// faultOf is fault.Of, and knows the answer of generated code for a method that the service did not write: it is the
// whole of that answer, as when a caller is of a newer version than who serves it.
func faultOf(fullMethod string, err error) *fault.Error {
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return f
	}
	if status.Code(err) == codes.Unimplemented {
		return fault.Wrap(err, fault.UnknownMethod, "method %s is not implemented", fullMethod)
	}
	return fault.Of(err)
}

// NotServed is the fault of a call that nobody got, as nobody serves who was asked for.
func NotServed(err error, format string, args ...any) *fault.Error {
	return fault.Wrap(err, fault.Overloaded, format, args...).After(RetryAfter)
}

// OutcomeUnknown is the fault of a call that may have been executed, and whose answer did not come.
func OutcomeUnknown(err error) *fault.Error {
	return fault.Wrap(err, fault.OutcomeUnknown, "the answer did not arrive; repeat with the same id").After(RetryAfter)
}
