package local

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// echo serves what it is sent, until the test ends.
func echo(t *testing.T) string {
	t.Helper()
	d, err := openDoor(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	go func() {
		for {
			c, err := d.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	return d.Addr().String()
}

// A cut link lets nothing pass and ends no connection; what was sent meanwhile passes when it is mended, also on
// connections that were opened in the dark.
func TestLink(t *testing.T) {
	l, err := OpenLink(t.Context(), echo(t))
	if err != nil {
		t.Fatal(err)
	}
	dial := func() net.Conn {
		var d net.Dialer
		c, err := d.DialContext(context.Background(), "tcp", l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	send := func(c net.Conn, s string) {
		t.Helper()
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatal(err)
		}
	}
	comes := func(c net.Conn, s string) {
		t.Helper()
		got := make([]byte, len(s))
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != s {
			t.Errorf("read %q, %v; want %q", got, err, s)
		}
	}
	before := dial()
	send(before, "one")
	comes(before, "one")
	l.Cut()
	l.Cut() // again changes nothing
	during := dial()
	send(before, "two")
	send(during, "three")
	for _, c := range []net.Conn{before, during} {
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		var timeout net.Error
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("over a cut link came %d bytes, %v; want nothing", n, err)
		}
	}
	l.Mend()
	comes(before, "two")
	comes(during, "three")
	if err := l.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	_ = before.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := before.Read(make([]byte, 1)); err == nil {
		t.Errorf("after Close came %d bytes; want the end", n)
	}
}
