package obs

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewRegistry returns a registry with the metrics of the Go runtime, the process and the build. Everything that counts
// gets the registry passed in; the global one is not served.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return r
}

// readyTimeout bounds one /readyz: shorter than the usual time-out of a probe, so that the answer names what hangs.
const readyTimeout = 800 * time.Millisecond

// Ops is what the operations port shows. It has no authentication: it belongs on an address that only operators reach.
type Ops struct {
	Ready    func(context.Context) error // nil error: send requests; joined errors are listed one by one
	Gatherer prometheus.Gatherer
	Config   string // the settings in effect, secrets masked already
	Log      *slog.Logger

	Trace      http.Handler // says where a message went; nil: /trace/ is left out
	NoProfiles bool         // leaves out /debug/pprof/
}

// Handler returns the handler of these paths:
//
//	/healthz        200 while the process can answer at all
//	/readyz         200, or 503 with {"ready":false,"failing":["store: …"]}
//	/metrics        Prometheus or OpenMetrics text
//	/status/config  YAML
//	/trace/ID       JSON: where a message went
//	/debug/pprof/   profiles
//
// All fields of o but the last two must be set.
func (o Ops) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", o.healthz)
	mux.HandleFunc("GET /readyz", o.readyz)
	mux.HandleFunc("GET /status/config", o.config)
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelError),
		ErrorHandling:     promhttp.ContinueOnError, // one broken collector must not hide the others
		EnableOpenMetrics: true,
	}))
	if o.Trace != nil {
		mux.Handle("GET /trace/{messageId}", o.Trace)
	}
	if o.NoProfiles {
		return mux
	}
	// Importing pprof also fills http.DefaultServeMux, which nothing here serves.
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol) // what go tool pprof does
	return mux
}

func (Ops) healthz(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "ok\n")
}

func (o Ops) config(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = io.WriteString(w, o.Config)
}

// readiness is the body of /readyz.
type readiness struct {
	Ready   bool     `json:"ready"`
	Failing []string `json:"failing,omitempty"`
}

func (o Ops) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	body, status := readiness{Ready: true}, http.StatusOK
	if err := o.Ready(ctx); err != nil {
		body, status = readiness{Failing: lines(err)}, http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client went away: nobody to tell
}

// lines returns what err joins, one by one: errors.Join separates by line ends.
func lines(err error) []string { return strings.Split(err.Error(), "\n") }
