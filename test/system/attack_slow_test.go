package system

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
)

// slowest is how long the server may take, by its settings in TestSlow, to let go of somebody who is slow on purpose: the
// longest of them is 2 s, and this machine may be busy. Without a limit it would never.
const slowest = 25 * time.Second

// knock opens a connection to a port and begins TLS where told.
func knock(t *testing.T, addr string, cfg *tls.Config) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if cfg != nil {
		cfg = cfg.Clone()
		cfg.ServerName = "127.0.0.1"
		nc = tls.Client(nc, cfg)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(slowest))
	return nc
}

// drip writes first, and then one byte after the other until the server has had enough. It returns what came back.
func drip(nc net.Conn, first string, bytes byte) (string, error) {
	end := make(chan struct{})
	var got []byte
	var err error
	go func() {
		defer close(end)
		got, err = io.ReadAll(nc)
	}()
	_, _ = io.WriteString(nc, first)
	for {
		select {
		case <-end:
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				return string(got), fmt.Errorf("still open after %s", slowest)
			}
			return string(got), nil
		case <-time.After(100 * time.Millisecond):
			if bytes != 0 {
				_, _ = nc.Write([]byte{bytes})
			}
		}
	}
}

// Who is slow on purpose is let go of in bounded time at every door, before and after it said who it is, by plain TCP and
// by TLS; and everybody else is served meanwhile.
func TestSlow(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[encrypted], func(t *testing.T) {
			t.Parallel()
			s := startDoors(t, encrypted, "--api-gateway-header-timeout", "1s", "--api-gateway-read-timeout", "2s", "--ws-gateway-auth-timeout", "2s")
			web := s.base[strings.LastIndexByte(s.base, '/')+1:]
			ann := s.member(t, "ann")
			post := "POST /messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + ann.Token + "\r\n"
			upgrade := "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
			whole := upgrade + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
			attacks := []struct {
				name, addr string
				raw        bool // nothing of TLS
				first      string
				bytes      byte   // what drips; 0 is nothing
				want       string // in what comes back
			}{
				{"nothing at all", web, false, "", 0, ""},
				{"a header byte by byte", web, false, "GET / HTTP/1.1\r\nHost: x\r\nX-A: ", 'a', ""},
				{"a body that does not come", web, false, post + "Content-Length: 100\r\n\r\n{", 0, "400 Bad Request"},
				{"a body byte by byte", web, false, post + "Content-Length: 60000\r\n\r\n{", ' ', "400 Bad Request"},
				{"chunks without end", web, false, post + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1", '0', "400 Bad Request"},
				{"a WebSocket handshake without end", web, false, upgrade + "X-A: ", 'a', ""},
				{"a WebSocket that says nothing", web, false, whole, 0, "no connect in time"},
				{"a WebSocket frame byte by byte", web, false, whole + "\x81\xfe\x0f\xa0\x00\x00\x00\x00", ' ', "no connect in time"},
				{"pings and no connect", web, false, whole, 0x89, ""},
				{"TCP that says nothing", s.tcp, false, "", 0, "no connect in time"},
				{"a length without a frame", s.tcp, false, "\x80\x20", 0, "no connect in time"},
				{"a TCP frame byte by byte", s.tcp, false, "\x80\x20", 'x', "no connect in time"},
				{"half a handshake of TLS", web, true, "\x16\x03\x01\x02\x00\x01\x00", 'x', ""},
				{"half a handshake of TLS, on TCP", s.tcp, true, "\x16\x03\x01\x02\x00\x01\x00", 'x', ""},
				{"a handshake of TLS that does not begin", web, true, "", 0, ""},
				{"a handshake of TLS that does not begin, on TCP", s.tcp, true, "", 0, ""},
			}
			stop := s.othersAreServed(t, ann)
			var wg sync.WaitGroup
			for _, tt := range attacks {
				if tt.raw && !encrypted {
					continue
				}
				cfg := s.tls
				if tt.raw {
					cfg = nil
				}
				for range 5 {
					nc := knock(t, tt.addr, cfg)
					wg.Go(func() {
						if got, err := drip(nc, tt.first, tt.bytes); err != nil || !strings.Contains(got, tt.want) {
							t.Errorf("%s: %.300q, %v; want it closed, after %q", tt.name, got, err, tt.want)
						}
					})
				}
			}
			wg.Wait()
			stop()
		})
	}
}

// othersAreServed sends requests at each door until stop is called, and fails for each that is not answered.
func (s *server) othersAreServed(t *testing.T, u *client.User) (stop func()) {
	t.Helper()
	l := dialDoor(t, s, doors[0])
	if got := l.connectAs(u); strings.HasPrefix(got, "error") {
		t.Fatalf("connect: %s", got)
	}
	var over atomic.Bool
	var wg sync.WaitGroup
	served := 0
	wg.Go(func() {
		for !over.Load() {
			if err := u.Do(t.Context(), "GET", "/users/me", nil, nil); err != nil {
				t.Errorf("GET /users/me of somebody else = %v", err)
				return
			}
			if got := l.call("user.getMe", "{}"); strings.HasPrefix(got, "error") {
				t.Errorf("user.getMe of somebody else = %s", got)
				return
			}
			served++
			pause()
		}
	})
	return func() {
		over.Store(true)
		wg.Wait()
		if served == 0 {
			t.Error("nobody else was served")
		}
	}
}

// A crowd of connections that say nothing takes no place from others: 50 of an address wait, more are sent away at once,
// and who is connected does not notice.
func TestCrowdOfStrangers(t *testing.T) {
	s := startDoors(t, false, "--ws-gateway-auth-timeout", "2s")
	ann := s.member(t, "ann")
	stop := s.othersAreServed(t, ann)
	var crowd []net.Conn
	for range 200 {
		crowd = append(crowd, knock(t, s.tcp, nil))
	}
	var wg sync.WaitGroup
	var sent, waited atomic.Int64
	for _, nc := range crowd {
		wg.Go(func() {
			got, err := io.ReadAll(bufio.NewReader(nc))
			switch {
			case err == nil && strings.Contains(string(got), "too many connections"):
				sent.Add(1)
			case err == nil && strings.Contains(string(got), "no connect in time"):
				waited.Add(1)
			default:
				t.Errorf("a stranger's connection ended with %v after %q", err, got)
			}
		})
	}
	wg.Wait()
	stop()
	if waited.Load() > 50*int64(s.gateways()) || sent.Load()+waited.Load() != 200 {
		t.Errorf("%d strangers were sent away and %d waited; want 50 to wait", sent.Load(), waited.Load())
	}
}

// gateways returns how many ws-gateways there are behind the ports.
func (s *server) gateways() int {
	if s.services == nil {
		return 1
	}
	return 2
}

// A client that never reads is let go of at every door, and what waits for it stays bounded.
func TestNeverReads(t *testing.T) {
	s := startDoors(t, false, "--ws-gateway-queue-bytes", "256KiB")
	ann, bob := s.member(t, "ann"), s.member(t, "bob")
	stop := s.othersAreServed(t, ann)
	defer stop()
	closed := func() float64 {
		return s.metric("oceanchat_ws_gateway_overflow_total") + s.metric("oceanchat_ws_gateway_slow_writes_total")
	}
	before := closed()
	for i, d := range doors {
		l := dialDoor(t, s, d)
		if nc, ok := l.nc.(*net.TCPConn); ok {
			_ = nc.SetReadBuffer(4 << 10)
		}
		if got := l.connectAs(s.device(t, bob, fmt.Sprint("deaf-", i), "web")); strings.HasPrefix(got, "error") {
			t.Fatalf("%s: connect: %s", d.name, got)
		}
	}
	text := strings.Repeat("🌊", 5000)
	for n := 0; closed() < before+float64(len(doors)); {
		if n > 2000 {
			t.Fatalf("%d messages of 20 KB were pushed and not read, and %.0f of %d connections were closed", n, closed()-before, len(doors))
		}
		for range 25 {
			s.say(t, ann, "toUserId", bob.ID, text)
			n++
		}
	}
}
