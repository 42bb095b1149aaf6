package grpcnet_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls/callstest"
	"github.com/oceanchat/oceanchat/internal/seam/calls/grpcnet"
)

// authority signs certificates into a directory.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.write("ca", "127.0.0.1")
	return a
}

// write makes name.crt and name.key for an address, signed by a, or by itself when a has no certificate yet.
func (a *authority) write(name, ip string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(ip)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if a.cert == nil {
		tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
		a.cert, a.key = tmpl, k
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	a.save(name+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	a.save(name+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}))
}

func (a *authority) save(name string, data []byte) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), data, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) files(name string) grpcnet.TLS {
	at := func(name string) string { return filepath.Join(a.dir, name) }
	return grpcnet.TLS{Cert: at(name + ".crt"), Key: at(name + ".key"), CA: at("ca.crt")}
}

func TestNetworkOverTLS(t *testing.T) {
	a := newAuthority(t)
	a.write("process", "127.0.0.1")
	callstest.TestCalls(t, open(a.files("process")))
}

// Who has no certificate of the cluster's authority gets nothing, on neither side.
func TestStrangersAreRefused(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	ours.write("process", "127.0.0.1")
	ours.write("elsewhere", "127.0.0.2")
	theirs.write("process", "127.0.0.1")
	mixed := theirs.files("process") // trusts us, but we don't trust it
	mixed.CA = ours.files("ca").CA
	tests := []struct {
		name           string
		caller, server grpcnet.TLS
	}{
		{"a caller of another authority", mixed, ours.files("process")},
		{"a server of another authority", ours.files("process"), mixed},
		{"a caller without TLS", grpcnet.TLS{}, ours.files("process")},
		{"a server without TLS", ours.files("process"), grpcnet.TLS{}},
		{"a server with the name of another", ours.files("process"), ours.files("elsewhere")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := freeAddr(t)
			n, _ := start(t, grpcnet.Config{TLS: tt.server}, addr)
			s := &server{}
			presencev1.RegisterPresenceInternalServiceServer(n, s)
			caller := newNetwork(t, grpcnet.Config{Addr: ":0", Addrs: []string{"presence=" + addr}, TLS: tt.caller})
			err := lookup(t.Context(), caller)
			if fault.CodeOf(err) != fault.Unavailable || s.asked.Load() != 0 {
				t.Errorf("Lookup = %v, and served %d; want UNAVAILABLE, 0", err, s.asked.Load())
			}
		})
	}
}

// A certificate, and the authority too, may be replaced under processes that run.
func TestAuthorityIsReplaced(t *testing.T) {
	a := newAuthority(t)
	a.write("process", "127.0.0.1")
	addr := freeAddr(t)
	cfg := grpcnet.Config{Addr: ":0", Addrs: []string{"presence=" + addr}, TLS: a.files("process")}
	caller := newNetwork(t, cfg)
	n, kill := start(t, grpcnet.Config{TLS: cfg.TLS}, addr)
	presencev1.RegisterPresenceInternalServiceServer(n, &server{})
	if err := lookup(t.Context(), caller); err != nil {
		t.Fatalf("Lookup = %v; want no error", err)
	}
	kill()
	a.save("ca.crt", []byte("half a file")) // which must harm nobody
	a.cert = nil
	a.write("new", "127.0.0.1") // an authority that signs itself, and is a process's certificate as well
	for to, from := range map[string]string{"ca.crt": "new.crt", "process.crt": "new.crt", "process.key": "new.key"} {
		data, err := os.ReadFile(filepath.Join(a.dir, from))
		if err != nil {
			t.Fatal(err)
		}
		a.save(to, data)
	}
	n, _ = start(t, grpcnet.Config{TLS: cfg.TLS}, addr)
	presencev1.RegisterPresenceInternalServiceServer(n, &server{})
	eventually(t, func() error { return lookup(t.Context(), caller) })
}

func TestFilesThatDoNotLoad(t *testing.T) {
	a := newAuthority(t)
	a.write("process", "127.0.0.1")
	a.save("no.crt", []byte("nothing"))
	good := a.files("process")
	for name, files := range map[string]grpcnet.TLS{
		"no CA":           {Cert: good.Cert, Key: good.Key, CA: filepath.Join(a.dir, "missing")},
		"CA is no CA":     {Cert: good.Cert, Key: good.Key, CA: a.files("no").Cert},
		"another's key":   {Cert: good.Cert, Key: a.files("ca").Key, CA: good.CA},
		"no certificate":  {Cert: a.files("no").Cert, Key: good.Key, CA: good.CA},
		"no such process": {Cert: filepath.Join(a.dir, "missing"), Key: good.Key, CA: good.CA},
	} {
		if _, err := newErr(grpcnet.Config{Addr: ":0", TLS: files}); err == nil {
			t.Errorf("New with %s = nil; want an error", name)
		}
	}
}
