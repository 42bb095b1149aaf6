package inproc

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// crossed is the context of a handler: the caller's deadline and cancellation, and none of its values.
type crossed struct{ caller context.Context }

// serverContext returns what the handler gets of the caller's context.
func serverContext(caller context.Context) context.Context {
	ctx := obs.CrossTrace(caller, crossed{caller})
	if id := calls.IdentityOf(caller); id != (calls.Identity{}) {
		ctx = calls.WithIdentity(ctx, id)
	}
	if network := calls.ClientOf(caller); network != "" {
		ctx = calls.WithClient(ctx, network)
	}
	if id := calls.RequestID(caller); id != "" {
		ctx = calls.WithRequestID(ctx, id)
	}
	return ctx
}

func (c crossed) Deadline() (time.Time, bool) { return c.caller.Deadline() }
func (c crossed) Done() <-chan struct{}       { return c.caller.Done() }
func (c crossed) Err() error                  { return c.caller.Err() }
func (crossed) Value(any) any                 { return nil }

// AfterFunc spares package context the goroutine that it would start for each context derived from a foreign one.
func (c crossed) AfterFunc(f func()) func() bool { return context.AfterFunc(c.caller, f) }

// copyMessage makes to a copy of from, nothing shared. Both are messages of one type.
func copyMessage(to, from any) error {
	dst, ok := to.(proto.Message)
	src, ok2 := from.(proto.Message)
	if !ok || !ok2 {
		return fmt.Errorf("copy %T to %T: both must be protobuf messages", from, to)
	}
	// A nil answer without an error is a mistake of the handler, and a nil message of the caller.
	if !src.ProtoReflect().IsValid() || !dst.ProtoReflect().IsValid() {
		return fmt.Errorf("copy %T to %T: a message is nil", from, to)
	}
	proto.Reset(dst)
	proto.Merge(dst, src) // panics when the types differ, which Method.Call turns into an error
	return nil
}
