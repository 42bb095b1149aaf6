package crossing

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// The keys of what crosses of a context, in NATS headers and in gRPC metadata.
const (
	keyIdentity    = "oc-identity"
	keyClient      = "oc-client"
	keyRequestID   = "oc-request-id"
	keyTraceParent = "traceparent"
	keyTraceState  = "tracestate"
)

// Inject puts what crosses of a caller's context into words: Identity, client, request id and the span of a trace. Deadlines
// are each network's own business. Values are printable ASCII without blanks.
func Inject(ctx context.Context, set func(key, value string)) {
	if id := calls.IdentityOf(ctx); id != (calls.Identity{}) {
		set(keyIdentity, encodeIdentity(id))
	}
	if network := calls.ClientOf(ctx); network != "" {
		set(keyClient, escape(network))
	}
	if id := calls.RequestID(ctx); id != "" {
		set(keyRequestID, escape(id))
	}
	parent, state := obs.TraceParent(ctx)
	if parent != "" {
		set(keyTraceParent, parent)
	}
	if state != "" {
		set(keyTraceState, escape(state))
	}
}

// Extract is the other side of Inject: it returns ctx as the handler's. get returns "" for what is not there. Words that
// no Inject wrote are MALFORMED: a call must not go on for nobody because its identity was not understood.
func Extract(ctx context.Context, get func(key string) string) (context.Context, error) {
	if s := get(keyIdentity); s != "" {
		id, err := decodeIdentity(s)
		if err != nil {
			return ctx, fault.Wrap(err, fault.Malformed, "the call's identity is not readable")
		}
		ctx = calls.WithIdentity(ctx, id)
	}
	if s := get(keyClient); s != "" {
		ctx = calls.WithClient(ctx, unescape(s))
	}
	if s := get(keyRequestID); s != "" {
		ctx = calls.WithRequestID(ctx, unescape(s))
	}
	if s := get(keyTraceParent); s != "" {
		ctx = obs.WithTraceParent(ctx, s, unescape(get(keyTraceState)))
	}
	return ctx, nil
}

// encodeIdentity returns user/session/device/platform/connection.
func encodeIdentity(id calls.Identity) string {
	return strings.Join([]string{
		escape(string(id.UserID)), escape(string(id.SessionID)), escape(string(id.DeviceID)),
		strconv.Itoa(int(id.Platform)), escape(string(id.ConnectionID)),
	}, "/")
}

func decodeIdentity(s string) (calls.Identity, error) {
	f := strings.Split(s, "/")
	if len(f) < 5 { // a newer version may say more
		return calls.Identity{}, fmt.Errorf("%d fields; want 5", len(f))
	}
	platform, err := strconv.ParseInt(f[3], 10, 32)
	if err != nil {
		return calls.Identity{}, fmt.Errorf("platform: %w", err)
	}
	return calls.Identity{
		UserID: chat.UserID(unescape(f[0])), SessionID: chat.SessionID(unescape(f[1])), DeviceID: chat.DeviceID(unescape(f[2])),
		Platform: authv1.Platform(platform), ConnectionID: chat.ConnectionID(unescape(f[4])),
	}, nil
}

// escape makes s fit for a header: what is not printable ASCII, blanks, % and / become %XX.
func escape(s string) string {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '%' || c == '/' {
			return url.PathEscape(s)
		}
	}
	return s
}

// unescape undoes escape; what escape did not write stays as it is.
func unescape(s string) string {
	if out, err := url.PathUnescape(s); err == nil {
		return out
	}
	return s
}

// words is a fault between processes. Fields are only added.
type words struct {
	Code       string  `json:"code"`
	Reason     string  `json:"reason"`
	Msg        string  `json:"msg,omitempty"`
	Fields     []field `json:"fields,omitempty"`
	RetryAfter int64   `json:"retryAfterUs,omitempty"` // microseconds
}

type field struct {
	Field string `json:"field"`
	Rule  string `json:"rule"`
}

// EncodeFault puts a fault into words, all fields but the cause.
func EncodeFault(f *fault.Error) []byte {
	w := words{Code: string(f.Code), Reason: string(f.Reason), Msg: f.Msg, RetryAfter: f.RetryAfter.Microseconds()}
	for _, v := range f.Fields {
		w.Fields = append(w.Fields, field(v))
	}
	out, err := json.Marshal(w)
	if err != nil { // strings and a number: it cannot
		return nil
	}
	return out
}

// DecodeFault is the other side of EncodeFault. What it cannot read is INTERNAL.
func DecodeFault(data []byte) *fault.Error {
	var w words
	if err := json.Unmarshal(data, &w); err != nil || w.Code == "" || w.Reason == "" {
		return fault.Of(fmt.Errorf("%d bytes are no fault", len(data)))
	}
	f := &fault.Error{
		Code: fault.Code(w.Code), Reason: fault.Reason(w.Reason), Msg: w.Msg, RetryAfter: time.Duration(w.RetryAfter) * time.Microsecond,
	}
	for _, v := range w.Fields {
		f.Fields = append(f.Fields, fault.Field(v))
	}
	return f
}
