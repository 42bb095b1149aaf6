package wire

import (
	"errors"
	"strings"
	"time"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// ErrorObject returns what a client is told of err, at every door. Causes stay out of it: an error that is no fault is
// INTERNAL, with nothing but the request id to find it by.
func ErrorObject(err error, requestID string) *wirev1.Error {
	f := fault.Of(err)
	if f == nil {
		f = fault.New(fault.InternalReason, "internal error")
	}
	e := &wirev1.Error{
		Code:         string(f.Code),
		Reason:       string(f.Reason),
		Message:      strings.ToValidUTF8(f.Msg, "\ufffd"),
		RetryAfterMs: milliseconds(f.RetryAfter),
		RequestId:    requestID,
	}
	for _, b := range f.Fields {
		e.Fields = append(e.Fields, &wirev1.FieldError{
			Field: strings.ToValidUTF8(b.Field, "\ufffd"),
			Rule:  strings.ToValidUTF8(b.Rule, "\ufffd"),
		})
	}
	return e
}

// milliseconds rounds up, so that advice to wait is never 0.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// Number returns the number of err in a JSON-RPC error: an envelope's own, the standard one for an unknown method and
// for params that are no object of the method, else the number of its gRPC status.
func Number(err error) int {
	var e *EnvelopeError
	if errors.As(err, &e) {
		return e.Number
	}
	f := fault.Of(err)
	if f == nil {
		return int(fault.Internal.GRPC())
	}
	switch f.Reason {
	case fault.UnknownMethod:
		return NumberUnknownMethod
	case fault.Malformed:
		return NumberBadParams
	default:
		return int(f.Code.GRPC())
	}
}
