package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/proto"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

const (
	subprotocol = "oceanchat.proto"
	// farewellTimeout bounds the close frame, which nobody waits for.
	farewellTimeout = time.Second
)

// wsConn is a WebSocket with the binary subprotocol.
type wsConn struct {
	nc      net.Conn
	r       *bufio.Reader
	writing turn
}

var _ Conn = (*wsConn)(nil)

func (d Dialer) dialWS(ctx context.Context, u *url.URL) (Conn, error) {
	at := *u
	at.Scheme = "ws" + strings.TrimPrefix(u.Scheme, "http")
	at.Path = strings.TrimSuffix(u.Path, "/") + "/ws"
	refused := &HandshakeError{}
	dialer := ws.Dialer{
		Protocols: []string{subprotocol}, NetDial: d.Net, TLSConfig: d.TLS,
		OnStatusError: func(status int, _ []byte, r io.Reader) {
			refused.Status = status
			if resp, err := http.ReadResponse(bufio.NewReader(r), nil); err == nil {
				seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
				refused.RetryAfter = time.Duration(max(seconds, 0)) * time.Second
				_ = resp.Body.Close()
			}
		},
	}
	nc, early, hs, err := dialer.Dial(ctx, at.String())
	if err != nil {
		if nc != nil {
			_ = nc.Close()
		}
		if refused.Status != 0 {
			return nil, refused
		}
		return nil, fmt.Errorf("open a WebSocket to %s: %w", at.Host, err)
	}
	if hs.Protocol != subprotocol {
		_ = nc.Close()
		return nil, fmt.Errorf("%s does not speak %s", at.Host, subprotocol)
	}
	if early == nil {
		early = bufio.NewReader(nc)
	}
	return &wsConn{nc: nc, r: early, writing: newTurn()}, nil
}

// Read implements Conn.
func (c *wsConn) Read() (*wirev1.ServerFrame, error) {
	var message []byte
	for {
		h, err := ws.ReadHeader(c.r)
		if err != nil {
			return nil, err
		}
		if h.Length > MaxFrame-int64(len(message)) || h.Masked || h.Rsv != 0 {
			return nil, errFrame
		}
		at := 0
		if !h.OpCode.IsControl() {
			at = len(message)
		}
		payload := append(message[:at:at], make([]byte, h.Length)...)
		if _, err := io.ReadFull(c.r, payload[at:]); err != nil {
			return nil, err
		}
		switch {
		case h.OpCode == ws.OpPing:
			if err := c.send(ws.OpPong, payload, writeTimeout); err != nil {
				return nil, err
			}
		case h.OpCode == ws.OpClose:
			return nil, c.closed(payload)
		case h.OpCode.IsControl():
		case !h.Fin:
			message = payload
		default:
			return decode(payload)
		}
	}
}

// closed answers the server's close frame and returns what it said.
func (c *wsConn) closed(payload []byte) error {
	if len(payload) < 2 {
		return &CloseError{Code: int(ws.StatusNoStatusRcvd)}
	}
	_ = c.send(ws.OpClose, payload[:2], farewellTimeout)
	return &CloseError{Code: int(binary.BigEndian.Uint16(payload)), Reason: string(payload[2:])}
}

// Write implements Conn.
func (c *wsConn) Write(f *wirev1.ClientFrame) error {
	b, err := proto.Marshal(f)
	if err != nil {
		return err
	}
	return c.send(ws.OpBinary, b, writeTimeout)
}

// send writes a whole frame with one call.
func (c *wsConn) send(op ws.OpCode, payload []byte, limit time.Duration) error {
	b, err := ws.CompileFrame(ws.MaskFrame(ws.NewFrame(op, true, payload)))
	if err != nil {
		return err
	}
	c.writing.take()
	defer c.writing.give()
	if err := c.nc.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	_, err = c.nc.Write(b)
	return err
}

// Close implements Conn. It says goodbye if nobody is writing.
func (c *wsConn) Close() error {
	select {
	case c.writing <- struct{}{}:
		_ = c.nc.SetWriteDeadline(time.Now().Add(farewellTimeout))
		if b, err := ws.CompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))); err == nil {
			_, _ = c.nc.Write(b)
		}
		c.writing.give()
	default:
	}
	return c.nc.Close()
}
