package obs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/obs"
)

func TestNewLogger(t *testing.T) {
	t.Parallel()
	tests := []struct {
		format obs.Format
		want   string
	}{
		{obs.Text, "level=WARN msg=hello user_id=u1\n"},
		{obs.JSON, `"level":"WARN","msg":"hello","user_id":"u1"}` + "\n"},
	}
	for _, tt := range tests {
		t.Run(string(tt.format), func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			log := obs.NewLogger(&out, tt.format, slog.LevelWarn)
			log.Info("too quiet")
			log.Warn("hello", obs.UserID, "u1")
			if !strings.HasSuffix(out.String(), tt.want) || strings.Count(out.String(), "\n") != 1 {
				t.Errorf("log = %q; want one line that ends in %q", out.String(), tt.want)
			}
		})
	}
}

// Invariant 9: what is secret is never logged.
func TestLoggerMasksSecrets(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	var out bytes.Buffer
	for _, format := range []obs.Format{obs.Text, obs.JSON} {
		log := obs.NewLogger(&out, format, slog.LevelDebug).With("refresh_token", secret)
		log.Info("x", "password", secret, "Authorization", "Bearer "+secret, "text", secret)
		log.Info("x", slog.Group("request", "access_token", secret, "cookie", []string{secret}))
		log.Info("x", "token_id", "t1")
	}
	if strings.Contains(out.String(), secret) {
		t.Errorf("log shows a secret: %s", out.String())
	}
	if !strings.Contains(out.String(), "token_id=t1") {
		t.Errorf("log hides token_id: %s", out.String())
	}
}

func TestEvery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := obs.Every(time.Minute)
		steps := []struct {
			wait       time.Duration
			key        string
			suppressed int
			ok         bool
		}{
			{0, "a", 0, true},
			{0, "a", 0, false},
			{59 * time.Second, "a", 0, false},
			{0, "b", 0, true},
			{time.Second, "a", 2, true},
			{0, "b", 0, false},
			{2 * time.Minute, "a", 0, true},
		}
		for i, s := range steps {
			time.Sleep(s.wait)
			if n, ok := l.Allow(s.key); n != s.suppressed || ok != s.ok {
				t.Errorf("step %d: Allow(%s) = %d, %t; want %d, %t", i, s.key, n, ok, s.suppressed, s.ok)
			}
		}
	})
}

// Invariant 7: the table is bounded; what has no place in it shares one line per period.
func TestEveryIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := obs.Every(time.Minute)
		for period := range 3 {
			passed := 0
			for i := range 10_000 {
				if _, ok := l.Allow(strconv.Itoa(period) + "/" + strconv.Itoa(i)); ok {
					passed++
				}
			}
			if want := 1024 + 1; passed != want {
				t.Errorf("period %d: %d of 10000 keys passed; want %d", period, passed, want)
			}
			time.Sleep(time.Minute)
		}
	})
}

func ops(ready error) http.Handler {
	reg := obs.NewRegistry()
	sends := prometheus.NewCounter(prometheus.CounterOpts{Name: "oceanchat_sends_total", Help: "Sends."})
	reg.MustRegister(sends)
	sends.Inc()
	return obs.Ops{
		Ready: func(ctx context.Context) error {
			if _, ok := ctx.Deadline(); !ok {
				return errors.New("no deadline")
			}
			return ready
		},
		Gatherer: reg,
		Config:   "push:\n  key: ***\n",
		Log:      slog.New(slog.DiscardHandler),
	}.Handler()
}

func TestOps(t *testing.T) {
	t.Parallel()
	down := errors.Join(errors.New("store: disk full"), errors.New("backbone: no leader"))
	tests := []struct {
		name, method, path string
		ready              error
		status             int
		want               string // part of the body
	}{
		{"health does not ask readiness", "GET", "/healthz", down, 200, "ok\n"},
		{"ready", "GET", "/readyz", nil, 200, "{\"ready\":true}\n"},
		{
			"not ready", "GET", "/readyz", down, 503,
			"{\"ready\":false,\"failing\":[\"store: disk full\",\"backbone: no leader\"]}\n",
		},
		{"our metrics", "GET", "/metrics", nil, 200, "oceanchat_sends_total 1\n"},
		{"runtime metrics", "GET", "/metrics", nil, 200, "go_goroutines "},
		{"process metrics", "GET", "/metrics", nil, 200, "process_open_fds "},
		{"config", "GET", "/status/config", nil, 200, "key: ***"},
		{"list of profiles", "GET", "/debug/pprof/", nil, 200, "goroutine"},
		{"one profile", "GET", "/debug/pprof/goroutine?debug=1", nil, 200, "goroutine profile:"},
		{"command line", "GET", "/debug/pprof/cmdline", nil, 200, "obs.test"},
		{"symbols", "POST", "/debug/pprof/symbol", nil, 200, "num_symbols"},
		{"unknown path", "GET", "/", nil, 404, "404"},
		{"unknown profile", "GET", "/debug/pprof/nothing", nil, 404, "Unknown profile"},
		{"wrong verb", "POST", "/readyz", nil, 405, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			ops(tt.ready).ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
			body, err := io.ReadAll(w.Result().Body)
			if err != nil {
				t.Fatal(err)
			}
			if w.Code != tt.status || !strings.Contains(string(body), tt.want) {
				t.Errorf("%s %s = %d %.300s; want %d with %q", tt.method, tt.path, w.Code, body, tt.status, tt.want)
			}
		})
	}
}
