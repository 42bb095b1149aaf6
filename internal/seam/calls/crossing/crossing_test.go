package crossing_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/crossing"
)

// checkHeader fails for what no header may hold.
func checkHeader(t *testing.T, key, value string) {
	t.Helper()
	for i := range len(value) {
		if value[i] <= ' ' || value[i] >= 0x7f {
			t.Errorf("header %s is %q; want printable ASCII without blanks", key, value)
			return
		}
	}
}

// Ids of clients' making must neither break out of a header nor change on the way (invariant 8).
func FuzzContextCrosses(f *testing.F) {
	f.Add("ann", "s1", "d1", int32(3), "c1", "r1")
	f.Add("a/b", "", "d%2F1", int32(-1), "", "")
	f.Add("", "", "", int32(0), "x", "two words\r\nOc-Identity: root")
	f.Add("ä\x00\xff", "/", "////", int32(1<<30), "%", " ")
	f.Fuzz(func(t *testing.T, user, session, device string, platform int32, conn, request string) {
		want := calls.Identity{
			UserID: chat.UserID(user), SessionID: chat.SessionID(session), DeviceID: chat.DeviceID(device),
			Platform: authv1.Platform(platform), ConnectionID: chat.ConnectionID(conn),
		}
		header := map[string]string{}
		crossing.Inject(calls.WithRequestID(calls.WithIdentity(t.Context(), want), request), func(key, value string) {
			checkHeader(t, key, value)
			header[key] = value
		})
		ctx, err := crossing.Extract(t.Context(), func(key string) string { return header[key] })
		if got, r := calls.IdentityOf(ctx), calls.RequestID(ctx); err != nil || got != want || r != request {
			t.Errorf("after crossing: %+v, request %q, %v; want %+v, request %q", got, r, err, want, request)
		}
	})
}

// A call whose identity is not readable must not go on as nobody's.
func TestExtractRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"ann", "a/b/c/d", "a/b/c/x/e", "a/b/c//e", "////"} {
		ctx, err := crossing.Extract(t.Context(), func(key string) string {
			return map[string]string{"oc-identity": bad}[key]
		})
		if !fault.IsReason(err, fault.Malformed) || calls.IdentityOf(ctx) != (calls.Identity{}) {
			t.Errorf("Extract(%q) = %+v, %v; want nobody, %s", bad, calls.IdentityOf(ctx), err, fault.Malformed)
		}
	}
	ctx, err := crossing.Extract(t.Context(), func(key string) string {
		return map[string]string{"oc-identity": "a/b/c/0/e/of a newer version"}[key]
	})
	if err != nil || calls.IdentityOf(ctx).UserID != "a" {
		t.Errorf("Extract of more fields = %+v, %v; want those that are known", calls.IdentityOf(ctx), err)
	}
}

func TestFaultCrosses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   fault.Error
	}{
		{"least", fault.Error{Code: fault.NotFound, Reason: fault.NotFoundReason}},
		{"most", fault.Error{
			Code: fault.Invalid, Reason: fault.InvalidFieldReason, Msg: "é <b>\x01\n\u2028", RetryAfter: 1500 * time.Microsecond,
			Fields: []fault.Field{{Field: "a", Rule: "b"}, {Field: "", Rule: "\"}"}},
		}},
		{"of a newer version", fault.Error{Code: "DATA_LOSS", Reason: "NEW", Msg: "x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(&tt.in, crossing.DecodeFault(crossing.EncodeFault(&tt.in))); diff != "" {
				t.Errorf("DecodeFault(EncodeFault(f)) (-want +got):\n%s", diff)
			}
		})
	}
	for _, bad := range []string{"", "{}", "null", "[]", `{"code":"NOT_FOUND"}`, "\x00"} {
		if f := crossing.DecodeFault([]byte(bad)); f.Reason != fault.InternalReason || f.Code != fault.Internal {
			t.Errorf("DecodeFault(%q) = %v; want %s", bad, f, fault.InternalReason)
		}
	}
}

// Invariant 9: the cause is for the log of its own side.
func TestFaultLogsTheCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk on fire")
	ctx := calls.WithRequestID(t.Context(), "r42")
	tests := []struct {
		name  string
		err   error
		level string // "": nothing is logged
	}{
		{"no fault", fmt.Errorf("load: %w", cause), "ERROR"},
		{"unavailable", fault.Wrap(cause, fault.LogFull, "full"), "WARN"},
		{"the client's", fault.Wrap(cause, fault.TooLarge, "large"), "DEBUG"},
		{"without a cause", fault.New(fault.LogFull, "full"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
			f := crossing.Fault(ctx, log, "/x/Y", tt.err)
			if errors.Is(f, cause) || f.Err != nil {
				t.Errorf("Fault(%v) = %v; want it without the cause", tt.err, f)
			}
			if tt.level == "" {
				if out.Len() > 0 {
					t.Errorf("logged %s; want nothing", out.String())
				}
				return
			}
			for _, want := range []string{"level=" + tt.level, "disk on fire", "r42", "/x/Y"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("logged %s; want %q in it", out.String(), want)
				}
			}
		})
	}
}
