package wsgateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"github.com/oceanchat/oceanchat/internal/obs"
)

// listener is a port of the gateway's own.
type listener struct {
	stop func()
	done chan struct{} // closed when its goroutine has ended
}

// close refuses what comes from now on; connections stay.
func (l *listener) close() {
	l.stop()
	<-l.done
}

// listen opens the ports that this process has: /ws unless api-gateway serves it, and TCP if configured. What is open
// is returned with an error too.
func (s *Service) listen(ctx context.Context) ([]*listener, error) {
	var list []*listener
	if !s.deps.Mounted {
		ln, err := s.deps.HTTP.Listen(ctx, s.cfg.Addr)
		if err != nil {
			return list, fmt.Errorf("open ws_gateway.addr %s: %w", s.cfg.Addr, err)
		}
		list = append(list, s.serveHTTP(ln))
	}
	if s.deps.TCPAddr != "" {
		ln, err := s.deps.TCP.Listen(ctx, s.deps.TCPAddr)
		if err != nil {
			return list, fmt.Errorf("open tcp.addr %s: %w", s.deps.TCPAddr, err)
		}
		list = append(list, s.serveTCP(ln))
	}
	return list, nil
}

// serveHTTP serves /ws on ln.
func (s *Service) serveHTTP(ln net.Listener) *listener {
	mux := http.NewServeMux()
	mux.Handle("/ws", s.Handler())
	// Connections that were handed over to /ws are free of the time limits.
	srv := &http.Server{
		Handler: mux, ReadTimeout: handshakeTimeout, WriteTimeout: 2 * handshakeTimeout, IdleTimeout: handshakeTimeout,
		MaxHeaderBytes: 16 << 10, TLSConfig: s.deps.HTTP.TLS(),
		// What the server itself has to say is what clients did wrong.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	serve := srv.Serve
	if srv.TLSConfig != nil {
		serve = func(ln net.Listener) error { return srv.ServeTLS(ln, "", "") }
	}
	l := &listener{done: make(chan struct{}), stop: func() { _ = srv.Close() }} // handshakes would be refused anyway
	s.log.Info("listening", "door", "ws", obs.Addr, ln.Addr().String())
	go func() {
		defer close(l.done)
		if err := serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("listener ended", obs.Addr, ln.Addr().String(), obs.Err, err)
		}
	}()
	return l
}

// serveTCP takes raw connections on ln. What a connection begins with is read in its own goroutines: a PROXY header under
// its own time limit, then a TLS handshake under that of connect.
func (s *Service) serveTCP(ln net.Listener) *listener {
	l := &listener{done: make(chan struct{}), stop: func() { _ = ln.Close() }}
	tlsConfig := s.deps.TCP.TLS()
	s.log.Info("listening", "door", "tcp", obs.Addr, ln.Addr().String())
	go func() {
		defer close(l.done)
		for {
			nc, err := ln.Accept()
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil: // out of files, or a client that is gone already
				s.failed("accept", "connection not accepted", err)
				wait(s.ctx, nil, flushPause)
			case !s.enter():
				_ = nc.Close()
			default:
				go s.acceptTCP(nc, tlsConfig)
			}
		}
	}()
	return l
}

// acceptTCP starts the life of a connection; enter was called for it. Asking for its address may wait for a proxy to tell.
func (s *Service) acceptTCP(nc net.Conn, tlsConfig *tls.Config) {
	ap, _ := netip.ParseAddrPort(nc.RemoteAddr().String())
	if tlsConfig != nil {
		nc = tls.Server(nc, tlsConfig)
	}
	s.accept(nc, tcpDoor, ap.Addr(), nil)
}
