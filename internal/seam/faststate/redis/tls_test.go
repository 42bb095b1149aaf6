package redis_test

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
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
)

// authority signs certificates into a directory.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// write makes name.crt and name.key, signed by a, or by itself when a has no certificate yet.
func (a *authority) write(name string) (crt, key string) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
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
	crt, key = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	for file, block := range map[string]*pem.Block{crt: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return crt, key
}

// TestTLS: connections are encrypted, both sides show certificates, and a server of another authority is refused.
func TestTLS(t *testing.T) {
	needServer(t)
	a, other := &authority{t: t, dir: t.TempDir()}, &authority{t: t, dir: t.TempDir()}
	ca, _ := a.write("ca")
	otherCA, _ := other.write("ca")
	crt, key := a.write("server")
	mine, mineKey := a.write("client")
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", "--port", "0", "--tls-port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "",
		"--tls-cert-file", crt, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "yes")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	cfg := defaults("oc", "127.0.0.1:"+port)
	cfg.TLS = netdoor.ClientTLS{Enabled: true, CA: ca, Cert: mine, Key: mineKey}
	c := dial(t, cfg)
	eventually(t, "Redis answers by TLS", func() error { return c.Ping(t.Context()) })
	for name, wrong := range map[string]netdoor.ClientTLS{
		"no TLS":            {},
		"no certificate":    {Enabled: true, CA: ca},
		"another authority": {Enabled: true, CA: otherCA, Cert: mine, Key: mineKey},
	} {
		cfg.TLS, cfg.CallTimeout = wrong, time.Second
		if err := dial(t, cfg).Ping(t.Context()); err == nil {
			t.Errorf("Ping with %s succeeded; want an error", name)
		}
	}
	cfg.TLS = netdoor.ClientTLS{Enabled: true, CA: key}
	if _, err := redis.New(cfg); err == nil {
		t.Error("New with a CA that is no certificate succeeded; want an error")
	}
}
