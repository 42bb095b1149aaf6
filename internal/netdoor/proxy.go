package netdoor

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"
)

const (
	headerTimeout = 5 * time.Second  // for a trusted proxy to send its header
	headerLeast   = 12               // bytes that every header has: the signature of version 2; version 1 has 15 at least
	headerLine    = 107              // bytes of the longest line of version 1
	headerMost    = 4 << 10          // bytes behind the head of version 2; the longest carry a client certificate's names
	tellEvery     = 10 * time.Second // between two log lines about broken headers
)

// proxyListener wraps the connections of trusted proxies. It never reads in Accept. Whether a header comes is not guessed, as
// the protocol demands: a trusted proxy must send one, and what anybody else sends is data.
type proxyListener struct {
	net.Listener

	door *Door
	told atomic.Int64 // when a broken header was logged last, in Unix nanoseconds
}

// Accept implements net.Listener.
func (l *proxyListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil || !l.door.set.trust.Contains(addrOf(nc.RemoteAddr())) {
		return nc, err
	}
	return &proxied{Conn: nc, ln: l}, nil
}

// proxied is a connection that begins with a PROXY header, which is read by the first use that needs it.
type proxied struct {
	net.Conn

	ln     *proxyListener
	header sync.Once
	client net.Addr // nil: the proxy speaks for itself, or its header is broken
	failed bool
}

func (c *proxied) readHeader() {
	_ = c.SetReadDeadline(time.Now().Add(headerTimeout)) // if it fails, reading fails too
	h, err := parseHeader(c.Conn)
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	result := "ok"
	if err != nil {
		result, c.failed = "broken", true
		c.ln.tell(c.Conn.RemoteAddr(), err)
	} else if from, _, ok := h.TCPAddrs(); ok && !h.Command.IsLocal() {
		c.client = from
	}
	c.ln.door.set.m.headers.WithLabelValues(c.ln.door.name, result).Inc()
}

// parseHeader reads a header from r and not a byte beyond it, so that what follows is still in the socket, where
// ws-gateway reads without the help of this connection. The library by itself would read ahead, or demand that a header
// arrives in one piece.
func parseHeader(r io.Reader) (*proxyproto.Header, error) {
	raw, err := cutHeader(r)
	if err != nil {
		return nil, err
	}
	return proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(raw), len(raw)))
}

// cutHeader reads the bytes of a header: to the end of the line in version 1, by its length in version 2.
func cutHeader(r io.Reader) ([]byte, error) {
	raw := make([]byte, headerLeast, headerLine)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, err
	}
	if bytes.Equal(raw, proxyproto.SIGV2) {
		raw = append(raw, 0, 0, 0, 0)
		if _, err := io.ReadFull(r, raw[headerLeast:]); err != nil {
			return nil, err
		}
		size := int(binary.BigEndian.Uint16(raw[headerLeast+2:]))
		if size > headerMost {
			return nil, proxyproto.ErrInvalidLength
		}
		raw = append(raw, make([]byte, size)...)
		_, err := io.ReadFull(r, raw[len(raw)-size:])
		return raw, err
	}
	if !bytes.HasPrefix(raw, proxyproto.SIGV1) {
		return nil, proxyproto.ErrNoProxyProtocol
	}
	for raw[len(raw)-1] != '\n' {
		if len(raw) == headerLine {
			return nil, proxyproto.ErrVersion1HeaderTooLong
		}
		raw = append(raw, 0)
		if _, err := io.ReadFull(r, raw[len(raw)-1:]); err != nil {
			return nil, err
		}
	}
	return raw, nil
}

// tell logs a broken header, seldom: it is the operator who can mend it.
func (l *proxyListener) tell(peer net.Addr, err error) {
	now, last := time.Now().UnixNano(), l.told.Load()
	if now-last >= int64(tellEvery) && l.told.CompareAndSwap(last, now) {
		l.door.set.log.Warn("no PROXY header from a trusted proxy, connection closed",
			"door", l.door.name, "remote_addr", peer.String(), "err", err)
	}
}

// RemoteAddr returns the client's address. It waits for the header.
func (c *proxied) RemoteAddr() net.Addr {
	c.header.Do(c.readHeader)
	if c.client != nil {
		return c.client
	}
	return c.Conn.RemoteAddr()
}

// Read reads what follows the header.
func (c *proxied) Read(p []byte) (int, error) {
	c.header.Do(c.readHeader)
	if c.failed {
		return 0, io.EOF // nobody is there who would understand an answer
	}
	return c.Conn.Read(p)
}

// CloseWrite ends the writing side.
func (c *proxied) CloseWrite() error {
	if t, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return t.CloseWrite()
	}
	return c.Close()
}

// SyscallConn gives the socket to who reads and writes it directly, once the header is out of it.
func (c *proxied) SyscallConn() (syscall.RawConn, error) {
	c.header.Do(c.readHeader)
	sc, ok := c.Conn.(syscall.Conn)
	if c.failed || !ok {
		return nil, errors.ErrUnsupported
	}
	return sc.SyscallConn()
}

// addrOf returns the address without its port, or the zero Addr where there is none.
func addrOf(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	return parseHop(a.String())
}
