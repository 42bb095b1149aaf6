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
	"github.com/oceanchat/oceanchat/internal/obs"
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
	reg := obs.NewRegistry()
	status := &lifecycle.Status{}
	s, err := openEmbedded(cfg, log)
	if err != nil {
		return err
	}
	h := &hall{cfg: cfg, log: log, reg: reg, seams: s}
	status.Add("log", s.backbone.Writable)
	status.Add("database", s.ping)
	parts := append(h.parts(), opsPart(cfg, log, reg, status))
	log.InfoContext(ctx, "starting", "version", Version, "data_dir", cfg.DataDir, "sync", cfg.Log.Sync)
	return lifecycle.Run(ctx, log, parts, lifecycle.Options{
		StopTimeout: cfg.Drain.Timeout, Notice: cfg.Drain.Notice, Status: status,
		Ready: func() { announce(stdout, cfg) },
	})
}

// announce says where to go.
func announce(w io.Writer, cfg *Config) {
	base := "http://" + reachable(cfg.HTTP.Addr)
	_, _ = fmt.Fprintf(w, `
OceanChat %s is ready.

  API and its description  %s/docs
  WebSocket                ws://%s/ws
`, Version, base, reachable(cfg.HTTP.Addr))
	if cfg.Ops.Addr != "" {
		_, _ = fmt.Fprintf(w, "  Health and metrics       http://%s/readyz, /metrics\n", reachable(cfg.Ops.Addr))
	}
	_, _ = fmt.Fprintf(w, "  Data                     %s\n\n", cfg.DataDir)
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

// opsName is the part that starts first and stops last.
const opsName = "ops"

// opsPart serves the operations port. It needs nothing, and all else needs it, so that it can tell why the rest does not
// start, or not stop.
func opsPart(cfg *Config, log *slog.Logger, reg *prometheus.Registry, status *lifecycle.Status) lifecycle.Part {
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
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Ops.Addr)
		if err != nil {
			return fmt.Errorf("listen on ops.addr: %w", err)
		}
		srv := &http.Server{
			Handler:           obs.Ops{Ready: status.Ready, Gatherer: reg, Config: settings, Log: log}.Handler(),
			ReadHeaderTimeout: 5 * time.Second,
		}
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(ln) }()
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
