package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/store/counted"
)

// serve runs the chosen targets in this process until ctx ends.
func serve(ctx context.Context, cfg *Config, chosen plan, log *slog.Logger, stdout io.Writer) error {
	unlock, err := takeDataDir(cfg, chosen)
	if err != nil {
		return err
	}
	defer unlock()
	parts, status, err := assemble(cfg, chosen, log, obs.NewRegistry())
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "starting", "version", Version, obs.Process, chosen.String())
	told := context.AfterFunc(ctx, func() { log.InfoContext(ctx, "stopping", "within", cfg.Drain.Timeout) })
	defer told()
	if err := lifecycle.Run(ctx, log, parts, lifecycle.Options{
		StopTimeout: cfg.Drain.Timeout, Notice: cfg.Drain.Notice, Status: status,
		Ready: func() { announce(stdout, cfg, chosen) },
	}); err != nil {
		return err
	}
	log.InfoContext(ctx, "stopped")
	return nil
}

// takeDataDir locks the directory of a process that keeps data itself. Those of a cluster keep none.
func takeDataDir(cfg *Config, chosen plan) (unlock func(), err error) {
	if chosen.cluster {
		return func() {}, nil
	}
	if err := makeDataDir(cfg.DataDir); err != nil {
		return nil, err
	}
	if unlock, err = lockDir(cfg.DataDir); err != nil {
		return nil, err
	}
	if err := keepPartitions(cfg.DataDir, cfg.Log.partitions(false)); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// assemble returns everything that runs, the chosen targets and what watches them, and what tells whether it is ready.
func assemble(cfg *Config, chosen plan, log *slog.Logger, reg *prometheus.Registry) ([]lifecycle.Part, *lifecycle.Status, error) {
	trust, err := cfg.trust()
	if err != nil {
		return nil, nil, err
	}
	doors := netdoor.NewSet(trust, log, reg)
	s, err := openSeams(cfg, chosen, doors, counted.New(reg), log)
	if err != nil {
		return nil, nil, err
	}
	tracing := obs.NewTracing(cfg.Traces, Version, log.With("part", tracesName), reg)
	h := &hall{cfg: cfg, plan: chosen, log: log, reg: reg, seams: s, tracing: tracing, trust: trust, doors: doors}
	desk := h.addJourneys()
	s.watch(calls.NewObserver(tracing, log, reg))
	if s.depths != nil {
		reg.MustRegister(newQueues(s.depths))
	}
	if s.free != nil {
		diskMetric(reg, s.free)
	}
	status := &lifecycle.Status{}
	ownMetrics(reg, status)
	for _, c := range s.checks {
		status.Add(c.name, c.run)
	}
	return append(h.parts(), opsPart(cfg, log, reg, status, desk, doors.Door("ops", cfg.Ops.TLS, false))), status, nil
}

// addJourneys lets the services record where messages go, and returns who tells of it: in a cluster for all processes.
func (h *hall) addJourneys() *journey.Desk {
	if !h.plan.cluster {
		h.journey = journey.New(h.cfg.Journey, h.plan.String())
		return journey.NewDesk(h.journey, nil, h.log)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	h.journey = journey.New(h.cfg.Journey, fmt.Sprintf("%s@%s/%d", h.plan, host, os.Getpid()))
	desk := journey.NewDesk(h.journey, h.seams.backbone, h.log)
	h.seams.parts = append(h.seams.parts, lifecycle.Part{Name: "journeys", Needs: []string{backbonePart}, Run: desk.Run})
	return desk
}

func openSeams(cfg *Config, chosen plan, doors *netdoor.Set, meter *counted.Meter, log *slog.Logger) (*seams, error) {
	if chosen.cluster {
		return openCluster(cfg, chosen, doors, meter, log)
	}
	return openEmbedded(cfg, meter, log)
}

// announce says where to go.
func announce(w io.Writer, cfg *Config, chosen plan) {
	web, ws := schemes(cfg.HTTP.TLS)
	ops, _ := schemes(cfg.Ops.TLS)
	line := func(what, where string) { _, _ = fmt.Fprintf(w, "  %-25s%s\n", what, where) }
	if chosen.cluster {
		_, _ = fmt.Fprintf(w, "\nOceanChat %s is ready: %s.\n\n", Version, chosen)
	} else {
		_, _ = fmt.Fprintf(w, "\nOceanChat %s is ready.\n\n", Version)
	}
	socket := cfg.WSGateway.Addr
	if chosen.has(apiGateway) {
		line("API and its description", web+"://"+reachable(cfg.HTTP.Addr)+"/docs")
		socket = cfg.HTTP.Addr
	}
	if chosen.has(wsGateway) {
		line("WebSocket", ws+"://"+reachable(socket)+"/ws")
		if cfg.TCP.Addr != "" {
			line("TCP", reachable(cfg.TCP.Addr))
		}
	}
	if cfg.Ops.Addr != "" {
		line("Health and metrics", ops+"://"+reachable(cfg.Ops.Addr)+"/readyz, /metrics")
	}
	if !chosen.cluster {
		line("Data", cfg.DataDir)
	}
	_, _ = fmt.Fprintln(w)
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
func opsPart(cfg *Config, log *slog.Logger, reg *prometheus.Registry, status *lifecycle.Status, desk *journey.Desk, door *netdoor.Door) lifecycle.Part {
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
			Handler:           obs.Ops{Ready: status.Ready, Gatherer: reg, Config: settings, Log: log, NoProfiles: !cfg.Ops.Profiles, Trace: desk}.Handler(),
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
