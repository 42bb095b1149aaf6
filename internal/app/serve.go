package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// serve runs all targets in this process until ctx ends.
func serve(ctx context.Context, cfg *Config, log *slog.Logger, stdout io.Writer) error {
	if err := makeDataDir(cfg.DataDir); err != nil {
		return err
	}
	unlock, err := lockDir(cfg.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := keepPartitions(cfg.DataDir, cfg.Log.Partitions); err != nil {
		return err
	}
	parts, status, err := assemble(cfg, log, obs.NewRegistry())
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "starting", "version", Version, "data_dir", cfg.DataDir, "sync", cfg.Log.Sync)
	told := context.AfterFunc(ctx, func() { log.InfoContext(ctx, "stopping", "within", cfg.Drain.Timeout) })
	defer told()
	if err := lifecycle.Run(ctx, log, parts, lifecycle.Options{
		StopTimeout: cfg.Drain.Timeout, Notice: cfg.Drain.Notice, Status: status,
		Ready: func() { announce(stdout, cfg) },
	}); err != nil {
		return err
	}
	log.InfoContext(ctx, "stopped")
	return nil
}

// assemble returns everything that runs, all targets and what watches them, and what tells whether it is ready.
func assemble(cfg *Config, log *slog.Logger, reg *prometheus.Registry) ([]lifecycle.Part, *lifecycle.Status, error) {
	trust, err := cfg.trust()
	if err != nil {
		return nil, nil, err
	}
	doors := netdoor.NewSet(trust, log, reg)
	status := &lifecycle.Status{}
	s, err := openEmbedded(cfg, log)
	if err != nil {
		return nil, nil, err
	}
	tracing := obs.NewTracing(cfg.Traces, Version, log.With("part", tracesName), reg)
	h := &hall{cfg: cfg, log: log, reg: reg, seams: s, tracing: tracing, trust: trust, doors: doors}
	s.watch(calls.NewObserver(tracing, log, reg))
	reg.MustRegister(newQueues(s.depths))
	ownMetrics(reg, status)
	status.Add("log", s.backbone.Writable)
	status.Add("database", s.ping)
	return append(h.parts(), opsPart(cfg, log, reg, status, doors.Door("ops", cfg.Ops.TLS, false))), status, nil
}

// announce says where to go.
func announce(w io.Writer, cfg *Config) {
	web, ws := schemes(cfg.HTTP.TLS)
	ops, _ := schemes(cfg.Ops.TLS)
	_, _ = fmt.Fprintf(w, `
OceanChat %s is ready.

  API and its description  %s://%s/docs
  WebSocket                %s://%s/ws
`, Version, web, reachable(cfg.HTTP.Addr), ws, reachable(cfg.HTTP.Addr))
	if cfg.TCP.Addr != "" {
		_, _ = fmt.Fprintf(w, "  TCP                      %s\n", reachable(cfg.TCP.Addr))
	}
	if cfg.Ops.Addr != "" {
		_, _ = fmt.Fprintf(w, "  Health and metrics       %s://%s/readyz, /metrics\n", ops, reachable(cfg.Ops.Addr))
	}
	_, _ = fmt.Fprintf(w, "  Data                     %s\n\n", cfg.DataDir)
}

// schemes returns what addresses of a port begin with.
func schemes(t netdoor.TLS) (web, ws string) {
	if t.CertFile != "" {
		return "https", "wss"
	}
	return "http", "ws"
}

// reachable turns an address to listen on into one to go to.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func serveHTTP(srv *http.Server, ln net.Listener) error {
	if srv.TLSConfig != nil {
		return srv.ServeTLS(ln, "", "")
	}
	return srv.Serve(ln)
}

// The parts that start first and stop last: who watches outlives who is watched.
const (
	opsName    = "ops"
	tracesName = "traces"
)

// opsPart serves the operations port. It needs nothing, and all else needs it, so that it can tell why the rest does not
// start, or not stop.
func opsPart(cfg *Config, log *slog.Logger, reg *prometheus.Registry, status *lifecycle.Status, door *netdoor.Door) lifecycle.Part {
	return lifecycle.Part{Name: opsName, Run: func(ctx context.Context, ready func()) error {
		if cfg.Ops.Addr == "" {
			ready()
			<-ctx.Done()
			return nil
		}
		settings, err := config.Print(cfg)
		if err != nil {
			return fmt.Errorf("print the configuration: %w", err)
		}
		ln, err := door.Listen(ctx, cfg.Ops.Addr)
		if err != nil {
			return fmt.Errorf("open ops.addr: %w", err)
		}
		srv := &http.Server{
			Handler:           obs.Ops{Ready: status.Ready, Gatherer: reg, Config: settings, Log: log, NoProfiles: !cfg.Ops.Profiles}.Handler(),
			ReadHeaderTimeout: 5 * time.Second, // bounds a handshake too
			TLSConfig:         door.TLS(),
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		}
		ended := make(chan error, 1)
		go func() { ended <- serveHTTP(srv, ln) }()
		ready()
		select {
		case err := <-ended:
			return fmt.Errorf("serve the operations port: %w", err)
		case <-ctx.Done():
		}
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := srv.Shutdown(stop); err != nil {
			_ = srv.Close() // a profile that still runs
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}}
}
