package netdoor_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/netdoor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long anything may take that must happen; timing never decides a test.
const patience = 20 * time.Second

// files writes a fresh certificate for name and its key.
func files(t *testing.T, dir, name string, ends time.Time) netdoor.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: ends.Add(-48 * time.Hour), NotAfter: ends,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f := netdoor.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	write(t, f.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, f.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	return f
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// text is a log that may be read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rig is a door that serves, by HTTP, the address that it thinks the client has.
type rig struct {
	addr string
	reg  *prometheus.Registry
	log  *text
}

func open(t *testing.T, tlsFiles netdoor.TLS, proxies ...string) *rig {
	t.Helper()
	r := &rig{reg: prometheus.NewRegistry(), log: &text{}}
	who := trust(t, "", proxies...)
	door := netdoor.NewSet(who, slog.New(slog.NewTextHandler(r.log, nil)), r.reg).Door("http", tlsFiles, len(proxies) > 0)
	ln, err := door.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen = %v; want nil", err)
	}
	r.addr = ln.Addr().String()
	srv := &http.Server{ReadHeaderTimeout: patience, TLSConfig: door.TLS(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { _, _ = io.WriteString(w, who.Client(req).String()) })
	done := make(chan error, 1)
	go func() {
		if srv.TLSConfig != nil {
			done <- srv.ServeTLS(ln, "", "")
			return
		}
		done <- srv.Serve(ln)
	}()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return r
}

// exchange sends bytes in pieces and returns all that comes back until the server closes.
func (r *rig) exchange(t *testing.T, pieces ...string) string {
	t.Helper()
	nc := r.dial(t)
	for _, p := range pieces {
		if _, err := io.WriteString(nc, p); err != nil {
			t.Fatal(err)
		}
	}
	got, err := io.ReadAll(nc)
	if err != nil && len(got) == 0 && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("read = %v; want the end", err)
	}
	return string(got)
}

func (r *rig) dial(t *testing.T) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return nc
}

const get = "GET / HTTP/1.0\r\n\r\n"

// v2 is a header of version 2 with command and family in one and an IPv4 source 1.1.1.1.
func v2(command, family byte, tail string) string {
	body := "\x01\x01\x01\x01\x7f\x00\x00\x01\x00\x50\x1f\x90" + tail
	return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, family, byte(len(body) >> 8), byte(len(body))}) + body
}

// A trusted proxy's header says who the client is; a broken one closes its connection and no other.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	const me = "127.0.0.1"
	tests := []struct {
		name string
		in   []string
		want string // the end of the answer; "" means that nothing is answered
	}{
		{"version 1", []string{"PROXY TCP4 1.1.1.1 127.0.0.1 80 8080\r\n" + get}, "1.1.1.1"},
		{"version 1, IPv6", []string{"PROXY TCP6 2001:db8::1 ::1 80 8080\r\n" + get}, "2001:db8::1"},
		{"version 1 in pieces", []string{"PRO", "XY TCP4 1.1.1.1 127.0", ".0.1 80 8080\r", "\n", get}, "1.1.1.1"},
		{"version 1, unknown", []string{"PROXY UNKNOWN\r\n" + get}, me},
		{"version 2", []string{v2(0x21, 0x11, "") + get}, "1.1.1.1"},
		{"version 2 with more behind", []string{v2(0x21, 0x11, "\x04\x00\x01x") + get}, "1.1.1.1"},
		{"version 2, the proxy itself", []string{v2(0x20, 0x00, "") + get}, me},
		{"version 2, a path", []string{"\r\n\r\n\x00\r\nQUIT\n\x21\x31\x00\xd8" + strings.Repeat("\x00", 216) + get}, me},
		{"none", []string{get}, ""},
		{"garbage in version 1", []string{"PROXY TCP4 300.1.1.1 127.0.0.1 80 8080\r\n" + get}, ""},
		{"version 1 without end", []string{"PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n" + get}, ""},
		{"version 2, too long", []string{"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff" + strings.Repeat("x", 0xffff)}, ""},
		{"version 2, too short for an address", []string{"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x04\x01\x01\x01\x01" + get}, ""},
		{"version 3", []string{"\r\n\r\n\x00\r\nQUIT\n\x31\x11\x00\x00" + get}, ""},
		{"a header in the header", []string{"PROXY TCP4 1.1.1.1 127.0.0.1 80 8080\r\nPROXY TCP4 6.6.6.6 127.0.0.1 80 8080\r\n" + get}, "400 Bad Request"},
	}
	r := open(t, netdoor.TLS{}, "127.0.0.0/8")
	t.Cleanup(func() {
		if strings.Count(r.log.String(), "no PROXY header") != 1 {
			t.Errorf("log = %s; want one line about broken headers, as they came within seconds", r.log)
		}
	})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := r.exchange(t, tt.in...)
			if !strings.HasSuffix(got, tt.want) || (tt.want == "") != (got == "") {
				t.Errorf("answer = %q; want it to end in %q", got, tt.want)
			}
			if got := r.exchange(t, "PROXY TCP4 2.2.2.2 127.0.0.1 80 8080\r\n"+get); !strings.HasSuffix(got, "2.2.2.2") {
				t.Errorf("the next connection got %q; want 2.2.2.2", got)
			}
		})
	}
}

// Who is not trusted cannot say who it is: its header is no header, and its connection an ordinary one.
func TestProxyProtocolUntrusted(t *testing.T) {
	t.Parallel()
	r := open(t, netdoor.TLS{}, "10.0.0.0/8")
	if got := r.exchange(t, get); !strings.HasSuffix(got, "127.0.0.1") {
		t.Errorf("without a header: %q; want its own address", got)
	}
	if got := r.exchange(t, "PROXY TCP4 1.1.1.1 127.0.0.1 80 8080\r\n"+get); !strings.Contains(got, "400 Bad Request") || strings.Contains(got, "1.1.1.1") {
		t.Errorf("with a header of its own making: %q; want 400", got)
	}
	if got := r.exchange(t, "GET / HTTP/1.0\r\nX-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n\r\n"); !strings.HasSuffix(got, "127.0.0.1") {
		t.Errorf("with forged headers: %q; want its own address", got)
	}
}

// Waiting for one proxy's header holds up nobody, also in front of TLS.
func TestSilentProxy(t *testing.T) {
	t.Parallel()
	f := files(t, t.TempDir(), "one.example", time.Now().Add(time.Hour))
	r := open(t, f, "127.0.0.0/8")
	r.dial(t) // says nothing
	nc := r.dial(t)
	_, _ = io.WriteString(nc, "PROXY TCP4 1.1.1.1 127.0.0.1 80 8080\r\n")
	c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
	_, _ = io.WriteString(c, get)
	got, err := io.ReadAll(c)
	if err != nil || !strings.HasSuffix(string(got), "1.1.1.1") {
		t.Errorf("answer = %q, %v; want 1.1.1.1", got, err)
	}
}

// name returns whose certificate a new connection sees.
func (r *rig) name(t *testing.T) string {
	t.Helper()
	c, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatalf("handshake = %v; want nil", err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].DNSNames[0]
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// loads reports whether certificates were read n times with that result.
func (r *rig) loads(t *testing.T, result string, n int) bool {
	t.Helper()
	got, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range got {
		for _, m := range f.GetMetric() {
			if f.GetName() == "oceanchat_door_certificate_loads_total" && m.GetLabel()[1].GetValue() == result {
				return int(m.GetCounter().GetValue()) == n
			}
		}
	}
	return false
}

// A new certificate is served without a restart, open connections stay, and a bad pair changes nothing.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := open(t, files(t, dir, "one.example", time.Now().Add(time.Hour)))
	if got := r.name(t); got != "one.example" {
		t.Fatalf("certificate = %s; want one.example", got)
	}
	kept, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()

	files(t, dir, "two.example", time.Now().Add(time.Hour))
	eventually(t, "the second certificate", func() bool { return r.name(t) == "two.example" })

	for i, spoil := range []func(){
		func() { write(t, filepath.Join(dir, "cert.pem"), []byte("nonsense")) },
		func() { _ = os.Remove(filepath.Join(dir, "key.pem")) },
		func() { files(t, dir, "old.example", time.Now().Add(-time.Hour)) },
	} {
		spoil()
		eventually(t, "the bad pair is counted", func() bool {
			got := r.name(t)
			if got != "two.example" {
				t.Fatalf("certificate = %s; want two.example while the files are bad", got)
			}
			return r.loads(t, "failed", i+1)
		})
	}
	files(t, dir, "three.example", time.Now().Add(time.Hour))
	eventually(t, "the third certificate", func() bool { return r.name(t) == "three.example" })
	if !r.loads(t, "ok", 3) {
		t.Error("certificate_loads_total{result=ok} is not 3")
	}
	if n := testutil.CollectAndCount(r.reg, "oceanchat_door_certificate_expires_seconds"); n != 1 {
		t.Errorf("%d series of certificate_expires_seconds; want 1", n)
	}
	_, _ = io.WriteString(kept, get)
	if got, err := io.ReadAll(kept); err != nil || !strings.HasSuffix(string(got), "127.0.0.1") {
		t.Errorf("the connection of before = %q, %v; want its answer", got, err)
	}
	if strings.Contains(r.log.String(), "PRIVATE KEY") {
		t.Error("the log holds a private key")
	}
}

func TestVersionsOfTLS(t *testing.T) {
	t.Parallel()
	r := open(t, files(t, t.TempDir(), "one.example", time.Now().Add(time.Hour)))
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if (err == nil) != ok {
			t.Errorf("handshake with %s = %v; want it to succeed: %v", tls.VersionName(version), err, ok)
		}
		if err == nil {
			_ = c.Close()
		}
	}
	if got := r.exchange(t, get); !strings.Contains(got, "400 Bad Request") {
		t.Errorf("without TLS: %q; want 400", got)
	}
}

func TestDoorThatDoesNotOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one := files(t, dir, "one.example", time.Now().Add(time.Hour))
	other := files(t, t.TempDir(), "two.example", time.Now().Add(time.Hour))
	for name, f := range map[string]netdoor.TLS{
		"no such file":           {CertFile: filepath.Join(dir, "none"), KeyFile: one.KeyFile},
		"the key of another":     {CertFile: one.CertFile, KeyFile: other.KeyFile},
		"a certificate as a key": {CertFile: one.CertFile, KeyFile: one.CertFile},
	} {
		door := netdoor.NewSet(netdoor.Trust{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry()).Door("tcp", f, false)
		if _, err := door.Listen(context.Background(), "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), "tcp.tls") {
			t.Errorf("%s: Listen = %v; want an error that names tcp.tls", name, err)
		}
	}
	if err := (netdoor.TLS{CertFile: "x"}).Validate(); err == nil {
		t.Error("Validate of a certificate without a key = nil; want an error")
	}
	var plain *netdoor.Door
	ln, err := plain.Listen(t.Context(), "127.0.0.1:0")
	if err != nil || plain.TLS() != nil {
		t.Fatalf("Listen of no door = %v with TLS %v; want plain TCP", err, plain.TLS())
	}
	_ = ln.Close()
}
