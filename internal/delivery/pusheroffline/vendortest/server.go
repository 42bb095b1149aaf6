// Package vendortest holds small real servers that stand in for the push vendors: APNs over HTTP/2, and FCM with its
// token endpoint. They check what the real ones check (signatures, headers, sizes), record what they accept, and can be
// told to misbehave. Unit tests of the adapters use them in process; the system test points the built binary at them
// through the key files, addresses and the certificate authority that they write to the test's directory.
//
// They share no code with the adapters: signatures are checked with the standard library alone. Everything ends with the
// test, hanging answers included.
package vendortest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Answer is one scripted answer. The zero Answer is the vendor's success.
type Answer struct {
	Status     int           // 0 means 200
	Reason     string        // the vendor's error code
	Body       string        // instead of the body that the vendor would send
	RetryAfter string        // the header, if any
	Delay      time.Duration // before answering
	Timestamp  time.Time     // APNs: when the token died
	BadField   string        // FCM: the field that a BadRequest blames
	Hang       bool          // never answer
	Reset      bool          // read the request, then cut the connection
	GoAway     bool          // HTTP/2: answer, and take no more on this connection
}

// Request is one request that passed all checks, whatever was answered.
type Request struct {
	Token   string // the device's
	Header  http.Header
	Body    []byte
	Sandbox bool // APNs: came to SandboxURL
}

// server is what the fakes have in common.
type server struct {
	// CAFile is a PEM file of the authority that signed the server's certificate.
	CAFile string

	certs *authority
	done  chan struct{} // closed when the test ends

	mu       sync.Mutex // guards everything below
	now      func() time.Time
	scripts  map[string][]Answer
	requests []Request
	problems []string
	conns    int
	refuse   int
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{certs: newAuthority(t), done: make(chan struct{}), now: time.Now, scripts: map[string][]Answer{}}
	s.CAFile = writeFile(t, "ca.pem", s.certs.pem)
	return s
}

// serve listens on a free port for each protocol list and returns the addresses as URLs.
func (s *server) serve(t testing.TB, h http.Handler, listeners int, protos ...string) []string {
	t.Helper()
	hs := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:    log.New(io.Discard, "", 0), // clients that leave are part of the tests
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	var wg sync.WaitGroup
	var urls []string
	for range listeners {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("listen: %v", err)
		}
		conf := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protos, Certificates: []tls.Certificate{s.certs.leaf}}
		tl := &listener{Listener: tls.NewListener(l, conf), s: s, wg: &wg}
		wg.Go(func() {
			if err := hs.Serve(tl); !errors.Is(err, http.ErrServerClosed) {
				t.Errorf("serve: %v", err)
			}
		})
		urls = append(urls, "https://"+l.Addr().String())
	}
	t.Cleanup(func() {
		close(s.done)
		_ = hs.Close()
		wg.Wait()
	})
	return urls
}

type connKey struct{}

// listener counts connections and turns some away, see APNs.GoAwayConnections.
type listener struct {
	net.Listener
	s  *server
	wg *sync.WaitGroup // counts the caller of Accept too, so that adding is safe
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil || !l.s.turnAway() {
			return c, err
		}
		l.wg.Go(func() { goAway(c) })
	}
}

func (s *server) turnAway() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns++
	if s.refuse == 0 {
		return false
	}
	s.refuse--
	return true
}

// Client returns a client that trusts the server and speaks HTTP/2. Its connections close with the test.
func (s *server) Client(t testing.TB) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.certs.pem)
	tr := &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, ForceAttemptHTTP2: true,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// SetClock makes the server tell the time by now.
func (s *server) SetClock(now func() time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

// Script appends answers for the device token; each is used once, in order, and success follows the last.
func (s *server) Script(token string, answers ...Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scripts[token] = append(s.scripts[token], answers...)
}

// Requests returns all requests that passed the checks, in order of arrival.
func (s *server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// For returns those for one device token.
func (s *server) For(token string) []Request {
	var out []Request
	for _, r := range s.Requests() {
		if r.Token == token {
			out = append(out, r)
		}
	}
	return out
}

// Problems returns what was wrong with requests that failed a check, in words.
func (s *server) Problems() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.problems...)
}

// Connections returns how many connections were opened.
func (s *server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

func (s *server) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

func (s *server) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// record keeps r and returns the next scripted answer.
func (s *server) record(r Request) Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	return s.next(r.Token)
}

// next needs s.mu.
func (s *server) next(script string) Answer {
	q := s.scripts[script]
	if len(q) == 0 {
		return Answer{}
	}
	s.scripts[script] = q[1:]
	return q[0]
}

// misbehave does what a asks before the answer proper, and reports whether there is to be one.
func (s *server) misbehave(w http.ResponseWriter, r *http.Request, a Answer) bool {
	if a.Hang {
		s.wait(r, nil)
		return false
	}
	if a.Reset {
		cut(r)
		return false
	}
	if a.Delay > 0 {
		timer := time.NewTimer(a.Delay)
		defer timer.Stop()
		if !s.wait(r, timer.C) {
			return false
		}
	}
	if a.RetryAfter != "" {
		w.Header().Set("Retry-After", a.RetryAfter)
	}
	if a.GoAway {
		w.Header().Set("Connection", "close") // which HTTP/2 turns into GOAWAY
	}
	return true
}

// wait reports whether c fired before the client left or the test ended.
func (s *server) wait(r *http.Request, c <-chan time.Time) bool {
	select {
	case <-c:
		return true
	case <-r.Context().Done():
	case <-s.done:
	}
	return false
}

// cut resets the connection under r without a good-bye.
func cut(r *http.Request) {
	c, _ := r.Context().Value(connKey{}).(*tls.Conn)
	if c == nil {
		panic(http.ErrAbortHandler)
	}
	raw := c.NetConn()
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}
