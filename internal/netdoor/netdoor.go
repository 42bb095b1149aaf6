// Package netdoor is what a port of the process has on its outside: TLS with certificates that are read again when they
// change, the PROXY protocol, and the one answer to which address a client has. It serves nothing itself and keeps no
// connection: what it returns behaves as a listener of package net, and Accept never waits for a client.
//
// It keeps invariant 8 at the outermost place: a broken PROXY header or handshake ends the connection that it came from
// and nothing else, and whoever is not a trusted proxy cannot say that it is somebody else.
package netdoor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"
)

// TLS is the "tls" section of a port's configuration. Both files are in PEM; none means no TLS.
type TLS struct {
	CertFile string `yaml:"cert_file" doc:"Certificate in PEM, its intermediates after it. Read again when it changes; empty: no TLS."`
	KeyFile  string `yaml:"key_file" doc:"The certificate's private key in PEM."`
}

// Validate returns an error when one of the two files is missing. Whether they fit together shows when they are read.
func (t TLS) Validate() error {
	if (t.CertFile == "") != (t.KeyFile == "") {
		return errors.New("cert_file and key_file: want both or none")
	}
	return nil
}

// Check reads the files, which Validate does not.
func (t TLS) Check() error {
	if !t.on() {
		return nil
	}
	_, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	return err
}

func (t TLS) on() bool { return t.CertFile != "" }

// Set is all doors of a process, which share whom they trust and what they count.
type Set struct {
	trust Trust
	log   *slog.Logger
	m     *metrics
}

// NewSet returns a Set whose doors believe the proxies of trust.
func NewSet(trust Trust, log *slog.Logger, reg prometheus.Registerer) *Set {
	return &Set{trust: trust, log: log, m: newMetrics(reg)}
}

// Door is how one port takes connections. A nil Door is plain TCP.
type Door struct {
	set   *Set
	name  string
	certs *certificates // nil: no TLS
	proxy bool
}

// Door returns the door of a port, whose name stands in logs and metrics. With proxyProtocol the connections of trusted
// proxies begin with a PROXY header.
func (s *Set) Door(name string, files TLS, proxyProtocol bool) *Door {
	d := &Door{set: s, name: name, proxy: proxyProtocol}
	if files.on() {
		d.certs = newCertificates(d, files)
	}
	return d
}

// TLS returns what a server does its handshakes with, or nil when the door has no TLS. The server does them itself: Listen's
// connections are not encrypted yet.
func (d *Door) TLS() *tls.Config {
	if d == nil || d.certs == nil {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: d.certs.get}
}

// Listen opens the port, after reading the certificate: a pair that does not load is an error now and never later.
//
// RemoteAddr of a connection is the client's own address, also where a trusted proxy told it by the PROXY protocol. It
// then waits for the header, 5 s at most, so call it where waiting harms nobody; a connection whose header is broken
// ends at its first Read.
func (d *Door) Listen(ctx context.Context, addr string) (net.Listener, error) {
	if d != nil && d.certs != nil {
		if err := d.certs.first(); err != nil {
			return nil, err
		}
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if d != nil && d.proxy {
		return &proxyListener{Listener: ln, door: d}, nil
	}
	return ln, nil
}

type metrics struct {
	loads   *prometheus.CounterVec
	expires *prometheus.GaugeVec
	headers *prometheus.CounterVec
}

const namespace, subsystem = "oceanchat", "door"

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "certificate_loads_total",
			Help: "New certificates that were read; failed ones were not taken, the one before serves on.",
		}, []string{"door", "result"}),
		expires: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "certificate_expires_seconds",
			Help: "When the certificate in use ends, in seconds since 1970.",
		}, []string{"door"}),
		headers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "proxy_headers_total",
			Help: "PROXY headers of trusted proxies; a broken one, or none in time, closes its connection.",
		}, []string{"door", "result"}),
	}
	reg.MustRegister(m.loads, m.expires, m.headers)
	return m
}
