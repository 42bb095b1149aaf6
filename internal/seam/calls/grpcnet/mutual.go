package grpcnet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
)

// mutual is TLS in which each side proves who it is. Certificates may be renewed under it: each handshake takes the
// pair that the door has at that time, and the authorities that are in their file.
type mutual struct {
	door  *netdoor.Door
	ca    string
	trust atomic.Pointer[x509.CertPool] // what was read last
	log   *slog.Logger
	quiet *obs.Limiter
}

var _ credentials.TransportCredentials = (*mutual)(nil)

func newMutual(files TLS, door *netdoor.Door, log *slog.Logger) (*mutual, error) {
	m := &mutual{door: door, ca: files.CA, log: log, quiet: obs.Every(time.Minute)}
	if err := errors.Join(m.load(), files.door().Check()); err != nil {
		return nil, fmt.Errorf("grpc.tls: %w", err)
	}
	return m, nil
}

// load reads the authorities.
func (m *mutual) load() error {
	pem, err := os.ReadFile(m.ca)
	if err != nil {
		return fmt.Errorf("read the CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("read the CA: no certificate in %s", m.ca)
	}
	m.trust.Store(pool)
	return nil
}

// authorities returns who is trusted now: a file that has become unreadable changes nothing. Handshakes between
// processes are rare, and cost a hundred times what reading a small file does.
func (m *mutual) authorities() *x509.CertPool {
	if err := m.load(); err != nil {
		if n, ok := m.quiet.Allow("ca"); ok {
			m.log.Error("the authorities of grpc.tls are not readable, those before stay", obs.Err, err, obs.Suppressed, n)
		}
	}
	return m.trust.Load()
}

// ClientHandshake implements credentials.TransportCredentials.
func (m *mutual) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	get := m.door.TLS().GetCertificate
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: m.authorities(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return get(nil) },
	}).ClientHandshake(ctx, authority, conn)
}

// ServerHandshake implements credentials.TransportCredentials.
func (m *mutual) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, GetCertificate: m.door.TLS().GetCertificate,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: m.authorities(),
	}).ServerHandshake(conn)
}

// Info implements credentials.TransportCredentials.
func (m *mutual) Info() credentials.ProtocolInfo {
	return credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13}).Info()
}

// Clone implements credentials.TransportCredentials. There is nothing that could differ.
func (m *mutual) Clone() credentials.TransportCredentials { return m }

// OverrideServerName implements credentials.TransportCredentials; gRPC does not use it any more.
func (*mutual) OverrideServerName(string) error {
	return errors.New("grpcnet: the server's name is its host's")
}
