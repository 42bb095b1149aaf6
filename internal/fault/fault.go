// Package fault is the one error model of OceanChat: what a client may be told, with the mapping to HTTP, gRPC and
// JSON-RPC in one place. It owns the registry of reasons (append-only, from the public contract). It never logs and
// holds no text that is secret: the cause of an internal error stays in Err and is for the log only.
package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Field says which field of a request broke which rule.
type Field struct {
	Field string // path as in the request, for example "text.text"
	Rule  string // what would have been right, for example "at most 5000 code points"
}

// Error is what a caller is told. The zero value is not useful; use New, Invalid or Wrap.
type Error struct {
	Code       Code
	Reason     Reason
	Fields     []Field       // set for INVALID_FIELD
	Msg        string        // one English sentence for developers, never secret
	RetryAfter time.Duration // 0: no advice
	Err        error         // the cause, for the log only; may be nil
}

// New returns a fault with the code that belongs to reason.
func New(reason Reason, format string, args ...any) *Error {
	return &Error{Code: reason.Code(), Reason: reason, Msg: fmt.Sprintf(format, args...)}
}

// InvalidField returns an INVALID_FIELD fault for one field.
func InvalidField(field, rule string) *Error {
	return InvalidFields(Field{field, rule})
}

// InvalidFields returns an INVALID_FIELD fault that names every broken rule.
func InvalidFields(fields ...Field) *Error {
	msg := "invalid request"
	if len(fields) > 0 {
		msg = fields[0].Field + ": " + fields[0].Rule
	}
	return &Error{Code: Invalid, Reason: InvalidFieldReason, Fields: fields, Msg: msg}
}

// Wrap returns a fault of reason whose cause is err. The cause is kept for the log and for errors.Is.
func Wrap(err error, reason Reason, format string, args ...any) *Error {
	f := New(reason, format, args...)
	f.Err = err
	return f
}

// After sets the advice when to try again and returns e.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// Error returns the reason and the message, and the cause when there is one.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Reason, e.Msg, e.Err)
	}
	return fmt.Sprintf("%s: %s", e.Reason, e.Msg)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is a fault of the same reason, so that errors.Is(err, fault.New(r, "")) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// Of returns the fault in err's chain. Ends of a context become UNAVAILABLE (the outcome is not known to the
// caller); anything else that is no fault is INTERNAL with err as its cause. Of(nil) is nil.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	var f *Error
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Wrap(err, OutcomeUnknown, "the answer did not arrive in time; repeat with the same id").After(time.Second)
	}
	return Wrap(err, InternalReason, "internal error")
}

// CodeOf returns the code of err's fault, and OK for nil.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	return Of(err).Code
}

// ReasonOf returns the reason of err's fault, and "" for nil.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	return Of(err).Reason
}

// IsReason reports whether err is a fault of reason r.
func IsReason(err error, r Reason) bool { return err != nil && ReasonOf(err) == r }
