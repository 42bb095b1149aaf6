package pusheroffline_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	pushv1 "github.com/oceanchat/oceanchat/gen/oceanchat/push/v1"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// registrar serves Register and Unregister alone.
func registrar(t *testing.T) (pushv1.PushServiceClient, *tokens) {
	t.Helper()
	db := &tokens{all: map[string]store.PushToken{}}
	net := inproc.New(slog.New(slog.DiscardHandler))
	cfg := pusheroffline.Config{}
	cfg.APNs.Topic = "com.example.chat"
	s, err := pusheroffline.New(cfg, pusheroffline.Deps{Network: net, Tokens: db}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s.Register(net)
	return pushv1.NewPushServiceClient(net), db
}

const (
	endpoint = "https://updates.push.services.mozilla.com/wpush/v2/x"
	secret   = "AAECAwQFBgcICQoLDA0ODw" // 16 bytes
)

func subscription(endpoint, p256dh, auth string) string {
	return fmt.Sprintf(`{"endpoint":%q,"expirationTime":null,"keys":{"p256dh":%q,"auth":%q}}`, endpoint, p256dh, auth)
}

// token registers a token of webpush.
func token(s string) func(*pushv1.RegisterRequest) {
	return func(r *pushv1.RegisterRequest) { r.Provider, r.Token = pushv1.Provider_PROVIDER_WEBPUSH, s }
}

func webpush(endpoint, p256dh, auth string) func(*pushv1.RegisterRequest) {
	return token(subscription(endpoint, p256dh, auth))
}

func as(ctx context.Context) context.Context {
	return calls.WithIdentity(ctx, calls.Identity{UserID: "ann", SessionID: "s1", DeviceID: "d1"})
}

func TestRegister(t *testing.T) {
	t.Parallel()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point := base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes())
	good := func() *pushv1.RegisterRequest {
		return &pushv1.RegisterRequest{DeviceId: "d1", Provider: providerAPNs, Token: "abcd", Language: "de"}
	}
	tests := []struct {
		name   string
		change func(*pushv1.RegisterRequest)
		nobody bool
		reason fault.Reason
		fields []string
	}{
		{name: "good"},
		{name: "with the app's id", change: func(r *pushv1.RegisterRequest) { r.AppId = "com.example.chat" }},
		{name: "any app's id for another vendor", change: func(r *pushv1.RegisterRequest) { r.Provider, r.AppId = providerFCM, "x" }},
		{name: "a vendor that is not configured", change: func(r *pushv1.RegisterRequest) { r.Provider = pushv1.Provider_PROVIDER_MEIZU }},
		{name: "longest", change: func(r *pushv1.RegisterRequest) {
			r.Provider, r.Token, r.AppId, r.Language = providerFCM, strings.Repeat("x", 4096), strings.Repeat("x", 256), strings.Repeat("x", 35)
		}},
		{name: "no session", nobody: true, reason: fault.TokenMissing},
		{name: "another device", change: func(r *pushv1.RegisterRequest) { r.DeviceId = "d2" }, reason: fault.NotFoundReason},
		{name: "no device", change: func(r *pushv1.RegisterRequest) { r.DeviceId = "" }, fields: []string{"deviceId"}},
		{name: "no provider", change: func(r *pushv1.RegisterRequest) { r.Provider = 0 }, fields: []string{"provider"}},
		{name: "unknown provider", change: func(r *pushv1.RegisterRequest) { r.Provider = 99 }, fields: []string{"provider"}},
		{name: "no token", change: func(r *pushv1.RegisterRequest) { r.Token = "" }, fields: []string{"token"}},
		{name: "another app at APNs", change: func(r *pushv1.RegisterRequest) { r.AppId = "com.example.other" }, fields: []string{"appId"}},
		{name: "all too long", change: func(r *pushv1.RegisterRequest) {
			r.Provider, r.Token, r.AppId, r.Language = providerFCM, strings.Repeat("x", 4097), strings.Repeat("x", 257), strings.Repeat("x", 36)
		}, fields: []string{"token", "appId", "language"}},
		{name: "a browser's subscription", change: webpush(endpoint, point, secret)},
		{name: "with padding", change: webpush(endpoint, point+"=", secret+"==")},
		{name: "webpush: no JSON", change: token("abcd"), fields: []string{"token"}},
		{name: "webpush: too long", change: token(strings.Repeat(" ", 4097)), fields: []string{"token"}},
		{name: "webpush: no token", change: token(""), fields: []string{"token"}},
		{name: "webpush: no keys", change: token(`{"endpoint":"` + endpoint + `"}`), fields: []string{"token"}},
		{name: "webpush: text behind it", change: token(subscription(endpoint, point, secret) + "x"), fields: []string{"token"}},
		{name: "webpush: a list", change: token("[" + subscription(endpoint, point, secret) + "]"), fields: []string{"token"}},
		{name: "webpush: no endpoint", change: webpush("", point, secret), fields: []string{"token"}},
		{name: "webpush: http", change: webpush("http://push.example/1", point, secret), fields: []string{"token"}},
		{name: "webpush: no host", change: webpush("https:///1", point, secret), fields: []string{"token"}},
		{name: "webpush: a password in the URL", change: webpush("https://a:b@push.example/1", point, secret), fields: []string{"token"}},
		{name: "webpush: no key", change: webpush(endpoint, "", secret), fields: []string{"token"}},
		{name: "webpush: a key that is no point", change: webpush(endpoint, strings.Repeat("B", 87), secret), fields: []string{"token"}},
		{name: "webpush: no secret", change: webpush(endpoint, point, ""), fields: []string{"token"}},
		{name: "webpush: a short secret", change: webpush(endpoint, point, "AAAA"), fields: []string{"token"}},
		{name: "webpush: a secret in another alphabet", change: webpush(endpoint, point, "!!!!!!!!!!!!!!!!!!!!!!"), fields: []string{"token"}},
		{name: "unknown environment", change: func(r *pushv1.RegisterRequest) { r.Environment = 9 }, fields: []string{"environment"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, db := registrar(t)
			req := good()
			if tt.change != nil {
				tt.change(req)
			}
			ctx := as(t.Context())
			if tt.nobody {
				ctx = t.Context()
			}
			if tt.fields != nil {
				tt.reason = fault.InvalidFieldReason
			}
			_, err := c.Register(ctx, req)
			if fault.ReasonOf(err) != tt.reason {
				t.Fatalf("Register = %v; want reason %q", err, tt.reason)
			}
			var fields []string
			if err != nil {
				for _, f := range fault.Of(err).Fields {
					fields = append(fields, f.Field)
				}
			}
			if diff := cmp.Diff(tt.fields, fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if stored := db.count() == 1; stored != (err == nil) {
				t.Errorf("token stored: %v; want %v", stored, err == nil)
			}
		})
	}
}

func TestRegisterThenUnregister(t *testing.T) {
	t.Parallel()
	c, db := registrar(t)
	ctx := as(t.Context())
	req := &pushv1.RegisterRequest{
		DeviceId: "d1", Provider: providerAPNs, Token: "abcd", AppId: "com.example.chat",
		Environment: pushv1.Environment_ENVIRONMENT_SANDBOX, Language: "de",
	}
	if _, err := c.Register(ctx, req); err != nil {
		t.Fatal(err)
	}
	got, _ := db.get("ann", "d1")
	want := store.PushToken{
		UserID: "ann", DeviceID: "d1", SessionID: "s1", Provider: int32(providerAPNs), Token: "abcd", AppID: "com.example.chat",
		Environment: int32(pushv1.Environment_ENVIRONMENT_SANDBOX), Language: "de", RegisteredAt: time.Now(),
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApproxTime(time.Minute)); diff != "" {
		t.Errorf("stored token (-want +got):\n%s", diff)
	}
	if _, err := c.Unregister(ctx, &pushv1.UnregisterRequest{DeviceId: "d2"}); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("Unregister of another device = %v; want NOT_FOUND", err)
	}
	for range 2 { // the second time there is none
		if _, err := c.Unregister(ctx, &pushv1.UnregisterRequest{DeviceId: "d1"}); err != nil {
			t.Errorf("Unregister = %v; want nil", err)
		}
	}
	if db.count() != 0 {
		t.Errorf("the token is still there")
	}
}
