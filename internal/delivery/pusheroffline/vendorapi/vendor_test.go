package vendorapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"long", "0123456789abcdef0123", "…ef0123"},
		{"too short to show any", "0123456789ab", "…"},
		{"empty", "", "…"},
	}
	for _, tt := range tests {
		if got := vendorapi.Redact(tt.in); got != tt.want {
			t.Errorf("%s: Redact(%q) = %q; want %q", tt.name, tt.in, got, tt.want)
		}
	}
}

// Invariant 9: text and tokens never reach a log, whoever prints an item and however.
func TestPrintingShowsNoSecret(t *testing.T) {
	t.Parallel()
	it := vendorapi.Item{
		Target:       vendorapi.Target{Provider: "apns", Token: "verysecrettoken123456", UserID: "ann", DeviceID: "phone"},
		Notification: vendorapi.Notification{PushID: "p1", Title: "Alice", Body: "meet me at nine"},
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("push", "target", it.Target, "notification", it.Notification)
	slog.New(slog.NewTextHandler(&log, nil)).Info("push", "item", it)
	got := log.String() + fmt.Sprint(it) + fmt.Sprintf("%v %+v %s", it, it, it.Target)
	for _, secret := range []string{"verysecret", "Alice", "meet me"} {
		if strings.Contains(got, secret) {
			t.Errorf("printed item holds %q: %s", secret, got)
		}
	}
	if !strings.Contains(got, "…123456") || !strings.Contains(got, "phone") {
		t.Errorf("printed item = %s; want the end of the token and the device", got)
	}
}

func TestShorten(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in    string
		limit int
		want  string
	}{
		{"hello", 5, "hello"},
		{"hello!", 5, "he…"},
		{"你好世界", 11, "你好…"},
		{"你好世界", 12, "你好世界"},
		{"👍👍", 7, "👍…"},
		{"👍👍", 6, "…"},
		{"hello", 2, ""},
		{"", 0, ""},
	}
	for _, tt := range tests {
		if got := vendorapi.Shorten(tt.in, tt.limit); got != tt.want {
			t.Errorf("Shorten(%q, %d) = %q; want %q", tt.in, tt.limit, got, tt.want)
		}
	}
}

func TestFit(t *testing.T) {
	t.Parallel()
	encode := func(body string) ([]byte, error) { return vendorapi.JSON(map[string]string{"body": body}) }
	for _, body := range []string{"short", strings.Repeat("a", 300), strings.Repeat("\"\n", 300), strings.Repeat("世", 300)} {
		got, err := vendorapi.Fit(100, body, encode)
		if err != nil || len(got) > 100 || !utf8.Valid(got) {
			t.Errorf("Fit(100, %.10q…) = %d bytes, %v; want at most 100 of valid UTF-8", body, len(got), err)
		}
		if len(body) > 100 && len(got) < 94 {
			t.Errorf("Fit(100, %.10q…) = %d bytes; want nearly 100", body, len(got))
		}
	}
	if got, err := vendorapi.Fit(5, "x", encode); err == nil {
		t.Errorf("Fit(5) = %q, nil; want an error as not even the frame fits", got)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name, header string
		want         time.Duration
	}{
		{"absent", "", 0},
		{"seconds", "120", 2 * time.Minute},
		{"date", now.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second},
		{"date gone by", now.Add(-time.Hour).Format(http.TimeFormat), 0},
		{"negative", "-5", 0},
		{"absurd", "999999999", 24 * time.Hour},
		{"words", "soon", 0},
	}
	for _, tt := range tests {
		a := vendorapi.Answer{Header: http.Header{"Retry-After": {tt.header}}}
		if got := a.RetryAfter(now); got != tt.want {
			t.Errorf("%s: RetryAfter(%q) = %v; want %v", tt.name, tt.header, got, tt.want)
		}
	}
}

func TestKills(t *testing.T) {
	t.Parallel()
	died := time.Unix(1000, 0)
	tests := []struct {
		name       string
		class      vendorapi.Class
		registered time.Time
		want       bool
	}{
		{"registered before its death", vendorapi.TokenDead, died.Add(-time.Second), true},
		{"registered again since", vendorapi.TokenDead, died.Add(time.Second), false},
		{"registration not known", vendorapi.TokenDead, time.Time{}, true},
		{"wrong set-up kills no token", vendorapi.Misconfigured, time.Time{}, false},
	}
	for _, tt := range tests {
		o := vendorapi.Outcome{Class: tt.class, DeadAt: died}
		if got := o.Kills(vendorapi.Target{RegisteredAt: tt.registered}); got != tt.want {
			t.Errorf("%s: Kills = %v; want %v", tt.name, got, tt.want)
		}
	}
}

func TestEachKeepsOrderAndBound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		items := make([]vendorapi.Item, 50)
		for i := range items {
			items[i].Notification.Seq = uint64(i)
		}
		slots := make(chan struct{}, 3)
		var running, most atomic.Int64
		send := func(_ context.Context, it vendorapi.Item) vendorapi.Outcome {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Duration(50-it.Notification.Seq) * time.Millisecond)
			running.Add(-1)
			return vendorapi.Outcome{Class: vendorapi.Accepted, VendorID: fmt.Sprint(it.Notification.Seq)}
		}
		for i, o := range vendorapi.Each(t.Context(), slots, items, send) {
			if o.VendorID != fmt.Sprint(i) {
				t.Errorf("outcome %d = %q; want its own item's", i, o.VendorID)
			}
		}
		if most.Load() != 3 {
			t.Errorf("most calls at a time = %d; want 3", most.Load())
		}
	})
}

func TestEachAnswersAllWhenContextEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		hang := func(ctx context.Context, _ vendorapi.Item) vendorapi.Outcome {
			<-ctx.Done()
			return vendorapi.Failed(vendorapi.Transient, ctx.Err())
		}
		got := vendorapi.Each(ctx, make(chan struct{}, 2), make([]vendorapi.Item, 5), hang)
		for i, o := range got {
			if o.Class != vendorapi.Transient || !errors.Is(o.Err, context.DeadlineExceeded) || o.MaybeSent {
				t.Errorf("outcome %d = %+v; want Transient for the deadline, not sent", i, o)
			}
		}
	})
}

func TestDoHidesTheAddress(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/3/device/secrettoken", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, o, ok := vendorapi.Do(http.DefaultClient, r)
	if ok || o.Class != vendorapi.Transient || o.MaybeSent {
		t.Fatalf("Do to a closed port = %+v, %v; want Transient, nothing sent", o, ok)
	}
	if strings.Contains(o.Err.Error(), "secrettoken") {
		t.Errorf("Do error = %q; want one without the path", o.Err)
	}
}

func TestClientFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusTemporaryRedirect))
	defer srv.Close()
	c, err := vendorapi.Options{Client: srv.Client()}.NewClient("", false)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, _, ok := vendorapi.Do(c, r); !ok || a.Status != http.StatusTemporaryRedirect {
		t.Errorf("Do = %d, %v; want the redirect itself", a.Status, ok)
	}
}

func TestCheckEndpoint(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://api.push.apple.com":     "https://api.push.apple.com",
		"https://127.0.0.1:1234/prefix/": "https://127.0.0.1:1234/prefix",
		"http://api.push.apple.com":      "",
		"https://u:p@host":               "",
		"api.push.apple.com":             "",
		"https://":                       "",
	} {
		if got, err := vendorapi.CheckEndpoint(in); got != want || (err == nil) != (want != "") {
			t.Errorf("CheckEndpoint(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}
