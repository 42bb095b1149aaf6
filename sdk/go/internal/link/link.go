// Package link carries frames of the binary subprotocol between a client and a server: over a WebSocket or over TCP
// with a varint before each frame. It cuts bytes into frames, answers the WebSocket's own pings and reports how a
// connection ended. It knows no method, keeps no connection alive and never reconnects.
package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

const (
	// MaxFrame is the largest frame that a server sends.
	MaxFrame     = 4 << 20
	writeTimeout = 10 * time.Second
)

// Conn is one connection. Read is called by one goroutine; Write and Close by any. The three end each other.
type Conn interface {
	// Read returns the next frame. Its error is a *CloseError when the server said why.
	Read() (*wirev1.ServerFrame, error)
	// Write sends a frame, within 10 s. After an error the connection is of no more use.
	Write(f *wirev1.ClientFrame) error
	// Close ends the connection without waiting for the server.
	Close() error
}

// CloseError is the server's word at the end of a WebSocket.
type CloseError struct {
	Code   int
	Reason string
}

// Error names the close code.
func (e *CloseError) Error() string {
	return fmt.Sprintf("closed by the server: %d %s", e.Code, e.Reason)
}

// HandshakeError says that the server answered the WebSocket's handshake otherwise than with 101.
type HandshakeError struct {
	Status     int
	RetryAfter time.Duration // 0: no advice
}

// Error names the status.
func (e *HandshakeError) Error() string {
	return fmt.Sprintf("handshake answered with status %d", e.Status)
}

var errFrame = errors.New("broken frame from the server")

// Dialer opens connections.
type Dialer struct {
	// Net opens the socket below; nil is a net.Dialer.
	Net func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is for wss and tls; nil is the default.
	TLS *tls.Config
}

// Dial connects to http, https (a WebSocket at the path /ws below it), tcp or tls. ctx bounds dialing only.
func (d Dialer) Dial(ctx context.Context, u *url.URL) (Conn, error) {
	if d.Net == nil {
		d.Net = (&net.Dialer{}).DialContext
	}
	switch u.Scheme {
	case "tcp", "tls":
		return d.dialTCP(ctx, u)
	default:
		return d.dialWS(ctx, u)
	}
}

// turn is a lock that may be waited for with a clock of testing/synctest.
type turn chan struct{}

func newTurn() turn  { return make(turn, 1) }
func (t turn) take() { t <- struct{}{} }
func (t turn) give() { <-t }
