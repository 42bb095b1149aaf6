package deploy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/crypto/bcrypt"

	"github.com/oceanchat/oceanchat/internal/freeport"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
)

// root is the module's folder, seen from this package's.
const root = "../.."

// cluster is three servers with the shipped configuration on ports of this machine.
type cluster struct {
	urls      string
	roots     *x509.CertPool
	ca        string // its file
	passwords map[string]string
}

var userLine = regexp.MustCompile(`user: ([a-z-]+), password: \$(OC_NATS_PASSWORD_[A-Z_]+)`)

// users lists the users of the shipped configuration with the variable of each one's password.
func users(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy/nats/users.conf"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, m := range userLine.FindAllStringSubmatch(string(text), -1) {
		all[m[1]] = m[2]
	}
	return all
}

// startServers builds the server of go.mod's version, starts three, and waits until streams of three replicas can be made.
func startServers(t *testing.T) *cluster {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		t.Fatalf("build nats-server: %v\n%s", err, out)
	}
	c := &cluster{passwords: map[string]string{}}
	c.certificates(t, dir)
	env := append(os.Environ(), "OC_NATS_MAX_FILE=20GB", "OC_NATS_CA="+c.ca,
		"OC_NATS_CERT="+filepath.Join(dir, "tls.crt"), "OC_NATS_KEY="+filepath.Join(dir, "tls.key"))
	for name, variable := range users(t) {
		c.passwords[name] = "p" + rand.Text()
		kept := c.passwords[name]
		if name != "auth" { // one in the clear, all others as operators should have them
			hash, err := bcrypt.GenerateFromPassword([]byte(kept), bcrypt.MinCost)
			if err != nil {
				t.Fatal(err)
			}
			kept = string(hash)
		}
		env = append(env, variable+"="+kept)
	}
	addrs := unused(t, 9)
	var urls, routes []string
	for i := range 3 {
		urls, routes = append(urls, "tls://"+addrs[i]), append(routes, "nats://"+addrs[3+i])
	}
	c.urls = strings.Join(urls, ",")
	for i := range 3 {
		c.start(t, bin, i, append(slices.Clone(env), fmt.Sprintf("OC_NATS_NAME=nats-%d", i+1), "OC_NATS_LISTEN="+addrs[i],
			"OC_NATS_CLUSTER="+addrs[3+i], "OC_NATS_MONITOR="+addrs[6+i], "OC_NATS_ROUTES=["+strings.Join(routes, ", ")+"]",
			"OC_NATS_STORE="+filepath.Join(dir, fmt.Sprintf("nats-%d", i+1))))
	}
	conn := c.connect(t, "operator", nil)
	eventually(t, "the cluster has a leader and three members", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		return seam(t, conn, 3).Writable(ctx) == nil && len(ask(t, conn, "$SYS.REQ.SERVER.PING.JSZ", 3)) == 3
	})
	return c
}

func (c *cluster) start(t *testing.T, bin string, i int, env []string) {
	t.Helper()
	lines, err := os.Create(filepath.Join(filepath.Dir(bin), fmt.Sprintf("nats-%d.log", i+1)))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-c", filepath.Join(root, "deploy/nats/nats.conf"))
	cmd.Env, cmd.Stdout, cmd.Stderr = env, lines, lines
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = lines.Close()
		if text, err := os.ReadFile(lines.Name()); err == nil && t.Failed() {
			t.Logf("nats-%d said:\n%s", i+1, tail(string(text), 40))
		}
	})
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// certificates makes an authority and one certificate of it for servers and routes.
func (c *cluster) certificates(t *testing.T, dir string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "nats"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames: []string{"localhost"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	c.ca = filepath.Join(dir, "ca.crt")
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	must(os.WriteFile(c.ca, caPEM, 0o600))
	must(os.WriteFile(filepath.Join(dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(os.WriteFile(filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	c.roots = x509.NewCertPool()
	c.roots.AppendCertsFromPEM(caPEM)
}

// refusals collects what the servers refused on a connection, by subject.
type refusals struct {
	mu       sync.Mutex
	subjects []string
}

var refused = regexp.MustCompile(`(?i)permissions violation for (?:publish|subscription) to "([^"]+)"`)

func (r *refusals) add(err error) {
	if m := refused.FindStringSubmatch(err.Error()); m != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.subjects = append(r.subjects, m[1])
	}
}

func (r *refusals) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.subjects)
}

// connect connects as user, as the product does. Without r a refusal fails the test.
func (c *cluster) connect(t *testing.T, user string, r *refusals) *nats.Conn {
	t.Helper()
	heard := func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if r != nil {
			r.add(err)
		} else {
			t.Errorf("user %s: %v", user, err)
		}
	}
	opts := append(jetstream.Options(slog.New(slog.DiscardHandler)), nats.UserInfo(user, c.passwords[user]), nats.ErrorHandler(heard),
		nats.CustomInboxPrefix("_OC_INBOX."+user), nats.Secure(&tls.Config{RootCAs: c.roots, MinVersion: tls.VersionTLS12}))
	var conn *nats.Conn
	eventually(t, "connect as "+user, func() (ok bool) {
		var err error
		conn, err = nats.Connect(c.urls, opts...)
		return err == nil
	})
	t.Cleanup(conn.Close)
	return conn
}

// seam is the product's own backbone on conn.
func seam(t *testing.T, conn *nats.Conn, replicas int) *jetstream.Backbone {
	t.Helper()
	b, err := jetstream.New(conn, jetstream.Config{Replicas: replicas, LogMaxBytes: 16 << 20, QueueMaxBytes: 16 << 20}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ask returns up to n answers to one request, those of two seconds.
func ask(t *testing.T, conn *nats.Conn, subject string, n int) [][]byte {
	t.Helper()
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := conn.PublishRequest(subject, inbox, nil); err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for end := time.Now().Add(2 * time.Second); len(out) < n; {
		m, err := sub.NextMsg(time.Until(end))
		if err != nil {
			break
		}
		if len(m.Data) > 0 { // empty: nobody answers
			out = append(out, m.Data)
		}
	}
	return out
}

// unused returns addresses that nobody listens on.
func unused(t *testing.T, n int) []string {
	t.Helper()
	addrs, err := freeport.Take(n)
	if err != nil {
		t.Fatal(err)
	}
	return addrs
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
