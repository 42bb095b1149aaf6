package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"google.golang.org/protobuf/proto"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

// tcpConn is the raw TCP door: an unsigned varint before each frame.
type tcpConn struct {
	nc      net.Conn
	r       *bufio.Reader
	writing turn
}

var _ Conn = (*tcpConn)(nil)

func (d Dialer) dialTCP(ctx context.Context, u *url.URL) (Conn, error) {
	nc, err := d.Net(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "tls" {
		cfg := d.TLS.Clone()
		if cfg == nil {
			cfg = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if cfg.ServerName == "" {
			cfg.ServerName = u.Hostname()
		}
		t := tls.Client(nc, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		nc = t
	}
	return &tcpConn{nc: nc, r: bufio.NewReader(nc), writing: newTurn()}, nil
}

// Read implements Conn.
func (c *tcpConn) Read() (*wirev1.ServerFrame, error) {
	size, err := binary.ReadUvarint(c.r)
	if err != nil {
		return nil, err
	}
	if size > MaxFrame {
		return nil, fmt.Errorf("%w: %d bytes", errFrame, size)
	}
	buf := make([]byte, size)
	if _, err := io.ReadFull(c.r, buf); err != nil {
		return nil, err
	}
	return decode(buf)
}

// Write implements Conn.
func (c *tcpConn) Write(f *wirev1.ClientFrame) error {
	b, err := proto.MarshalOptions{}.MarshalAppend(binary.AppendUvarint(nil, uint64(proto.Size(f))), f)
	if err != nil {
		return err
	}
	c.writing.take()
	defer c.writing.give()
	if err := c.nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err = c.nc.Write(b)
	return err
}

// Close implements Conn.
func (c *tcpConn) Close() error { return c.nc.Close() }

func decode(b []byte) (*wirev1.ServerFrame, error) {
	f := &wirev1.ServerFrame{}
	if err := proto.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	return f, nil
}
