package link_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/sdk/go/internal/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var push = &wirev1.ServerFrame{Kind: &wirev1.ServerFrame_Push{Push: &wirev1.Push{Method: "typing", Params: []byte{1, 2}}}}

func encoded(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dial connects to serve, which plays the server.
func dial(t *testing.T, at string, serve func(nc net.Conn, r *bufio.Reader)) (link.Conn, error) {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = far.SetDeadline(time.Now().Add(20 * time.Second))
		serve(far, bufio.NewReader(far))
	}()
	t.Cleanup(func() {
		_ = near.Close()
		_ = far.Close()
		<-done
	})
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return link.Dialer{Net: func(context.Context, string, string) (net.Conn, error) { return near, nil }}.Dial(t.Context(), u)
}

func wantPush(t *testing.T, c link.Conn) {
	t.Helper()
	f, err := c.Read()
	if d := cmp.Diff(push, f, protocmp.Transform()); d != "" || err != nil {
		t.Errorf("Read() error %v (-want +got):\n%s", err, d)
	}
}

func TestTCP(t *testing.T) {
	t.Parallel()
	id := uint32(7)
	request := &wirev1.ClientFrame{Id: &id, Method: "ping", Lane: 2}
	got := make(chan []byte, 1)
	c, err := dial(t, "tcp://h:1", func(nc net.Conn, r *bufio.Reader) {
		b := encoded(t, push)
		frame := append(binary.AppendUvarint(nil, uint64(len(b))), b...)
		_, _ = nc.Write(frame[:3]) // a frame may come in pieces
		_, _ = nc.Write(frame[3:])
		n, _ := binary.ReadUvarint(r)
		body := make([]byte, n)
		_, _ = io.ReadFull(r, body)
		got <- body
		_, _ = nc.Write(binary.AppendUvarint(nil, link.MaxFrame+1))
	})
	if err != nil {
		t.Fatalf("Dial = %v; want nil", err)
	}
	wantPush(t, c)
	if err := c.Write(request); err != nil {
		t.Fatalf("Write = %v; want nil", err)
	}
	f := &wirev1.ClientFrame{}
	if err := proto.Unmarshal(<-got, f); err != nil || !proto.Equal(f, request) {
		t.Errorf("the server got %v, %v; want %v", f, err, request)
	}
	if _, err := c.Read(); err == nil {
		t.Error("Read of a frame that is too large = nil; want an error")
	}
}

// received returns the payload of the client's next frame.
func received(nc net.Conn) string {
	h, err := ws.ReadHeader(nc)
	if err != nil {
		return err.Error()
	}
	body := make([]byte, h.Length)
	_, _ = io.ReadFull(nc, body)
	ws.Cipher(body, h.Mask, 0)
	return string(body)
}

// accept answers a handshake.
func accept(nc net.Conn, protocol string) {
	_, _ = ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == protocol }}.Upgrade(nc)
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	pong := make(chan string, 1)
	c, err := dial(t, "http://h/base/", func(nc net.Conn, _ *bufio.Reader) {
		accept(nc, "oceanchat.proto")
		b := encoded(t, push)
		_ = ws.WriteFrame(nc, ws.NewFrame(ws.OpBinary, false, b[:2])) // fragments, with a ping between
		go func() { _ = ws.WriteFrame(nc, ws.NewPingFrame([]byte("n=1"))) }()
		pong <- received(nc)
		_ = ws.WriteFrame(nc, ws.NewFrame(ws.OpContinuation, true, b[2:]))
		_ = ws.WriteFrame(nc, ws.NewCloseFrame(ws.NewCloseFrameBody(4003, "elsewhere")))
		received(nc) // the answer to the close
	})
	if err != nil {
		t.Fatalf("Dial = %v; want nil", err)
	}
	wantPush(t, c)
	if got := <-pong; got != "n=1" {
		t.Errorf("pong = %q; want what the ping carried", got)
	}
	var closed *link.CloseError
	if _, err := c.Read(); !errors.As(err, &closed) || closed.Code != 4003 || closed.Reason != "elsewhere" {
		t.Errorf("Read at the close = %v; want 4003 elsewhere", err)
	}
}

func TestBrokenFrames(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		bytes []byte
	}{
		{"masked", ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame([]byte{1})))},
		{"reserved bit", []byte{0xc2, 0x00}},
		{"too large", []byte{0x82, 127, 0, 0, 0, 0, 0, 0x40, 0, 1}},
		{"huge", []byte{0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
		{"no protobuf", ws.MustCompileFrame(ws.NewBinaryFrame([]byte{0xff, 0xff}))},
		{"cut off", []byte{0x82, 0x05, 1, 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := dial(t, "http://h", func(nc net.Conn, _ *bufio.Reader) {
				accept(nc, "oceanchat.proto")
				_, _ = nc.Write(tt.bytes)
				_ = nc.Close()
			})
			if err != nil {
				t.Fatalf("Dial = %v; want nil", err)
			}
			if f, err := c.Read(); err == nil {
				t.Errorf("Read = %v; want an error", f)
			}
		})
	}
}

func TestHandshakeRefused(t *testing.T) {
	t.Parallel()
	_, err := dial(t, "http://h", func(nc net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(nc, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
	})
	var refused *link.HandshakeError
	if !errors.As(err, &refused) || refused.Status != 503 || refused.RetryAfter != 7*time.Second {
		t.Errorf("Dial = %v; want status 503 after 7 s", err)
	}
	if _, err := dial(t, "http://h", func(nc net.Conn, _ *bufio.Reader) { accept(nc, "") }); err == nil {
		t.Error("Dial of a server without the subprotocol = nil; want an error")
	}
}
