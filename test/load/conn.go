package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/gobwas/ws"
)

// maxFrame bounds what a server may send in one frame (PROTOCOL).
const maxFrame = 4 << 20

// mask is the masking key of every frame: the contract wants one, and the load needs no secrecy from proxies.
var mask = [4]byte{0x6f, 0x63, 0x6c, 0x64}

// conn is a long connection that costs its owner little: frames are built and read by hand. One goroutine reads;
// writing is safe for any number, as each frame is one Write.
type conn struct {
	nc  net.Conn
	br  *bufio.Reader
	big []byte // a frame longer than br's buffer

	got   atomic.Uint64 // n of the newest entry push
	acked atomic.Uint64 // the highest n that an ack was sent for
}

// dial opens a connection and connects as d. buffer is the size of its read buffer.
func dial(ctx context.Context, base string, d device, buffer int) (*conn, error) {
	nc, early, _, err := ws.Dialer{Protocols: []string{"oceanchat.json"}}.Dial(ctx, "ws"+strings.TrimPrefix(base, "http")+"/ws")
	if err != nil {
		return nil, fmt.Errorf("open a WebSocket: %w", err)
	}
	c := &conn{nc: nc}
	var r io.Reader = nc
	if early != nil {
		r = io.MultiReader(io.LimitReader(early, int64(early.Buffered())), nc)
	}
	c.br = bufio.NewReaderSize(r, buffer)
	if err := c.connect(ctx, d); err != nil {
		c.close()
		return nil, fmt.Errorf("connect: %w", err)
	}
	return c, nil
}

// connect sends the first request and reads its answer.
func (c *conn) connect(ctx context.Context, d device) error {
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	params, err := json.Marshal(map[string]any{"token": d.token, "deviceId": d.id, "platform": platform, "syncToken": "", "acks": true})
	if err != nil {
		return err
	}
	request := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":0,"method":"connect","params":%s}`, params)
	if err := c.write(nil, ws.OpText, request); err != nil {
		return err
	}
	answer, err := c.read()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(answer, []byte(`{"jsonrpc":"2.0","id":0,"result":`)) {
		return fmt.Errorf("the answer is %.300s", answer)
	}
	return nil
}

func (c *conn) close() { _ = c.nc.Close() }

// write sends one frame; scratch is the caller's own buffer, which write may use and grow into nothing.
func (c *conn) write(scratch []byte, op ws.OpCode, payload []byte) error {
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

// read returns the next text frame, valid until the next call. It answers pings by itself.
func (c *conn) read() ([]byte, error) {
	for {
		op, payload, err := c.frame()
		if err != nil {
			return nil, err
		}
		switch op {
		case ws.OpText:
			return payload, nil
		case ws.OpPing:
			if err := c.write(nil, ws.OpPong, payload); err != nil {
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

func (c *conn) frame() (ws.OpCode, []byte, error) {
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
	const head = `{"jsonrpc":"2.0","method":"ack","params":{"n":`
	payload := append(strconv.AppendUint(append(make([]byte, 0, len(head)+24), head...), got, 10), "}}"...)
	return c.write(scratch, ws.OpText, payload)
}

// What the answers and pushes of interest begin with: the contract fixes the order of an envelope's first members.
const (
	answerHead = `{"jsonrpc":"2.0","id":`
	entryHead  = `{"jsonrpc":"2.0","method":"entry","params":{"n":`
)

// numberAfter returns the number that follows key in data, and false if there is none.
func numberAfter(data []byte, key string) (uint64, bool) {
	i := bytes.Index(data, []byte(key))
	if i < 0 {
		return 0, false
	}
	var n uint64
	digits := 0
	for _, b := range data[i+len(key):] {
		if b < '0' || b > '9' || digits == 19 {
			break
		}
		n = n*10 + uint64(b-'0')
		digits++
	}
	return n, digits > 0
}

// stringAfter returns what stands between key, which ends in a quote, and the next quote; "" if key is not there.
func stringAfter(data []byte, key string) string {
	i := bytes.Index(data, []byte(key))
	if i < 0 {
		return ""
	}
	value, _, closed := bytes.Cut(data[i+len(key):], []byte{'"'})
	if !closed {
		return ""
	}
	return string(value)
}
