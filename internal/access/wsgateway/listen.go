package wsgateway

import (
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
func (s *Service) listen() ([]*listener, error) {
	var list []*listener
	if !s.deps.Mounted {
		ln, err := net.Listen("tcp", s.cfg.Addr)
		if err != nil {
			return list, fmt.Errorf("listen on ws_gateway.addr %s: %w", s.cfg.Addr, err)
		}
		list = append(list, s.serveHTTP(ln))
	}
	if s.deps.TCPAddr != "" {
		ln, err := net.Listen("tcp", s.deps.TCPAddr)
		if err != nil {
			return list, fmt.Errorf("listen on tcp.addr %s: %w", s.deps.TCPAddr, err)
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
		MaxHeaderBytes: 16 << 10, TLSConfig: s.deps.TLS,
		// What the server itself has to say is what clients did wrong.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	serve := srv.Serve
	if s.deps.TLS != nil {
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

// serveTCP takes raw connections on ln. A TLS handshake runs in the connection's own reader, under the time limit of
// connect.
func (s *Service) serveTCP(ln net.Listener) *listener {
	l := &listener{done: make(chan struct{}), stop: func() { _ = ln.Close() }}
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
			default:
				s.acceptTCP(nc)
			}
		}
	}()
	return l
}

func (s *Service) acceptTCP(nc net.Conn) {
	if !s.enter() {
		_ = nc.Close()
		return
	}
	ap, _ := netip.ParseAddrPort(nc.RemoteAddr().String())
	if s.deps.TLS != nil {
		nc = tls.Server(nc, s.deps.TLS)
	}
	s.accept(nc, tcpDoor, network(ap.Addr()), nil)
}
