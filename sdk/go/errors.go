package oceanchat

import (
	"cmp"
	"errors"
	"time"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

// What a call may fail with besides an *Error and what the context says.
var (
	// ErrNotStarted is the answer of a client on which neither Start nor Run was called.
	ErrNotStarted = errors.New("oceanchat: the client was not started")
	// ErrConnectionLost says that a request was cut off: whether the server acted on it is not known.
	ErrConnectionLost = errors.New("oceanchat: connection lost before the answer came")
	// ErrPending comes with the context's error when Send gave up waiting for a message that may be out already: it
	// stays in the outbox and is sent again until it is acknowledged, so do not send its text anew.
	ErrPending = errors.New("oceanchat: still in the outbox")
	// ErrOutboxFull says that MaxOutbox messages wait already.
	ErrOutboxFull = errors.New("oceanchat: outbox is full")
	// ErrDiscarded is what waiters get for a message that was taken out of the outbox.
	ErrDiscarded = errors.New("oceanchat: discarded from the outbox")
)

// Error is what the server answered instead of a result, the same object at every door.
type Error struct {
	Code       string // a gRPC status name such as PERMISSION_DENIED
	Reason     string // stable cause such as NOT_MEMBER; see the contract's list
	Message    string // one English sentence for developers
	Fields     []FieldError
	RetryAfter time.Duration // 0: no advice
	RequestID  string
}

// FieldError names a field of a request and the rule that it broke.
type FieldError struct{ Field, Rule string }

// Error returns reason and message; the code where something before the server answered without a reason.
func (e *Error) Error() string {
	what := cmp.Or(e.Reason, e.Code, "UNKNOWN")
	if e.Message == "" {
		return what
	}
	return what + ": " + e.Message
}

// IsReason reports whether err is the server's answer with this reason, for example "NOT_MEMBER".
func IsReason(err error, reason string) bool {
	var e *Error
	return errors.As(err, &e) && e.Reason == reason
}

// definite reports whether repeating the request would fail again.
func (e *Error) definite() bool {
	switch e.Code {
	case "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "FAILED_PRECONDITION", "UNIMPLEMENTED":
		return true
	}
	return false
}

func fromWire(w *wirev1.Error) *Error {
	e := &Error{
		Code: w.GetCode(), Reason: w.GetReason(), Message: w.GetMessage(), RequestID: w.GetRequestId(),
		RetryAfter: time.Duration(w.GetRetryAfterMs()) * time.Millisecond,
	}
	for _, f := range w.GetFields() {
		e.Fields = append(e.Fields, FieldError{f.GetField(), f.GetRule()})
	}
	return e
}

func (e *Error) toWire() *wirev1.Error {
	w := &wirev1.Error{
		Code: e.Code, Reason: e.Reason, Message: e.Message, RequestId: e.RequestID, RetryAfterMs: e.RetryAfter.Milliseconds(),
	}
	for _, f := range e.Fields {
		w.Fields = append(w.Fields, &wirev1.FieldError{Field: f.Field, Rule: f.Rule})
	}
	return w
}
