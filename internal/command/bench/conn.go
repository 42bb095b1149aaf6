package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

// maxFrame bounds what a server may send in one frame (PROTOCOL).
const maxFrame = 4 << 20

// callTimeout bounds dialing and each call that somebody waits for.
const callTimeout = 30 * time.Second

// mask is the masking key of every frame: the contract wants one, and the load needs no secrecy from proxies.
var mask = [4]byte{0x6f, 0x63, 0x6c, 0x64}

// conn is a long connection that costs its owner little: frames are built and read by hand. One goroutine reads;
// writing is safe for any number, as each frame is one Write.
type conn struct {
	wire codec
	nc   net.Conn
	br   *bufio.Reader
	big  []byte // a frame longer than br's buffer
	next uint32 // id of the last call

	got   atomic.Uint64 // n of the newest entry push
	acked atomic.Uint64 // the highest n that an ack was sent for
}

// dial opens a connection and connects as a at url. buffer is the size of its read buffer.
func dial(ctx context.Context, url string, wire codec, a account, buffer int) (*conn, error) {
	return dialSince(ctx, url, wire, a, buffer, "", nil)
}

// dialSince is dial for a client that has seen everything up to a sync token, and wants the answer unless into is nil.
func dialSince(ctx context.Context, url string, wire codec, a account, buffer int, since string, into proto.Message) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	d := ws.Dialer{Protocols: []string{wire.protocol()}, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ReadBufferSize: 1024, WriteBufferSize: 1024}
	nc, early, _, err := d.Dial(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("open a WebSocket: %w", err)
	}
	c := &conn{wire: wire, nc: nc}
	var r io.Reader = nc
	if early != nil {
		r = io.MultiReader(io.LimitReader(early, int64(early.Buffered())), nc)
	}
	c.br = bufio.NewReaderSize(r, buffer)
	err = c.call(ctx, "connect", &wirev1.ConnectRequest{
		Token: a.AccessToken, DeviceId: a.DeviceID, SyncToken: since, Acks: true,
		Platform: authv1.Platform(authv1.Platform_value["PLATFORM_"+strings.ToUpper(a.Platform)]),
	}, into)
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// call sends a request and waits for its answer; pushes that come meanwhile are counted and passed over. Nobody else may
// read at that time. Pages of lists go in lane 1, as clients do.
func (c *conn) call(ctx context.Context, method string, params, into proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	c.next++
	payload, err := c.wire.request(nil, c.next, 1, method, params)
	if err != nil {
		return err
	}
	if err := c.write(nil, payload); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	for {
		frame, err := c.read()
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", method, err), context.Cause(ctx))
		}
		e, err := c.wire.parse(frame)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", method, err)
		case e.kind == entry:
			c.got.Store(e.n)
		case e.kind != answer || e.id != c.next:
		case e.refused:
			return fmt.Errorf("%s: %w", method, &refusal{e.reason, string(e.body), e.retryAfter})
		case into != nil:
			return c.wire.result(e, into)
		default:
			return nil
		}
	}
}

func (c *conn) close() { _ = c.nc.Close() }

// write sends one frame; scratch is the caller's own buffer, which write may use and grow into nothing.
func (c *conn) write(scratch, payload []byte) error { return c.frame(scratch, c.wire.op(), payload) }

func (c *conn) frame(scratch []byte, op ws.OpCode, payload []byte) error {
	_, err := c.nc.Write(appendFrame(scratch[:0], op, payload))
	return err
}

// appendFrame appends a masked frame.
func appendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	dst = append(dst, 0x80|byte(op))
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	dst = append(dst, mask[:]...)
	at := len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[at:], mask, 0)
	return dst
}

// read returns the next frame of the subprotocol, valid until the next call. It answers pings by itself.
func (c *conn) read() ([]byte, error) {
	for {
		op, payload, err := c.take()
		if err != nil {
			return nil, err
		}
		switch op {
		case c.wire.op():
			return payload, nil
		case ws.OpPing:
			if err := c.frame(nil, ws.OpPong, payload); err != nil {
				return nil, err
			}
		case ws.OpClose:
			if len(payload) >= 2 {
				return nil, fmt.Errorf("closed by the server with %d %s", binary.BigEndian.Uint16(payload), payload[2:])
			}
			return nil, io.EOF
		case ws.OpPong:
		default:
			return nil, fmt.Errorf("a frame of type %d", op)
		}
	}
}

var errFrame = errors.New("a frame that is masked, in fragments or too long")

// take returns the next frame.
func (c *conn) take() (ws.OpCode, []byte, error) {
	head, err := c.br.Peek(2)
	if err != nil {
		return 0, nil, err
	}
	op, length, size := ws.OpCode(head[0]&0x0f), uint64(head[1]), 2
	if head[0]&0x80 == 0 || length > 127 {
		return 0, nil, errFrame
	}
	if length >= 126 {
		size = 4
		if length == 127 {
			size = 10
		}
		if head, err = c.br.Peek(size); err != nil {
			return 0, nil, err
		}
		length = uint64(binary.BigEndian.Uint16(head[2:]))
		if size == 10 {
			length = binary.BigEndian.Uint64(head[2:])
		}
	}
	if length > maxFrame {
		return 0, nil, errFrame
	}
	_, _ = c.br.Discard(size)
	payload, err := c.payload(int(length))
	return op, payload, err
}

func (c *conn) payload(n int) ([]byte, error) {
	if n <= c.br.Size() {
		p, err := c.br.Peek(n)
		if err != nil {
			return nil, err
		}
		_, _ = c.br.Discard(n) // p stays valid until the next read
		return p, nil
	}
	if cap(c.big) < n {
		c.big = make([]byte, n)
	}
	_, err := io.ReadFull(c.br, c.big[:n])
	return c.big[:n], err
}

// ack acknowledges all entries that came, if at least least have come since the last time.
func (c *conn) ack(scratch []byte, least uint64) error {
	got, acked := c.got.Load(), c.acked.Load()
	if got < acked+least || !c.acked.CompareAndSwap(acked, got) {
		return nil // nothing to say, or another goroutine says it
	}
	var buf [96]byte
	return c.write(scratch, c.wire.ack(buf[:0], got))
}
