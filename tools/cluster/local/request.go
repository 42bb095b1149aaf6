package local

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// answerWithin bounds a request: a stream that has no leader for the moment never answers it.
const answerWithin = 5 * time.Second

// request sends a request to a NATS server and returns the answer. It speaks the few lines of the protocol that
// this takes, since only the backbone may use the client.
func request(ctx context.Context, addr string, u secretUser, subject, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	conn, err := connect(ctx, addr, u)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	inbox := "_OC_INBOX." + u.User + "." + secret()
	if _, err := fmt.Fprintf(conn, "SUB %s 1\r\nPUB %s %s %d\r\n%s\r\n", inbox, subject, inbox, len(body), body); err != nil {
		return nil, err
	}
	return conn.message()
}

// Ask sends a request to a NATS server, as the services do, and returns the answer.
func (s *Services) Ask(ctx context.Context, p *Process, subject, body string) ([]byte, error) {
	return request(ctx, p.Addr, s.tenant.secretUser, subject, body)
}

// natsConn is a connection to a NATS server.
type natsConn struct {
	net.Conn
	r *bufio.Reader
}

// connect logs in, and returns when the server has agreed.
func connect(ctx context.Context, addr string, u secretUser) (*natsConn, error) {
	conn, err := open(ctx, addr)
	if err != nil {
		return nil, err
	}
	c := &natsConn{conn, bufio.NewReader(conn)}
	login, err := json.Marshal(map[string]any{"user": u.User, "pass": u.Password, "verbose": false, "pedantic": false, "protocol": 1})
	if err == nil {
		_, err = fmt.Fprintf(conn, "CONNECT %s\r\nPING\r\n", login)
	}
	for line := ""; err == nil && line != "PONG"; {
		line, err = c.line()
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("log in to NATS at %s: %w", addr, err)
	}
	return c, nil
}

// line returns the next line, answering the server's pings.
func (c *natsConn) line() (string, error) {
	line, err := c.r.ReadString('\n')
	line = strings.TrimSpace(line)
	switch {
	case err != nil:
		return "", err
	case strings.HasPrefix(line, "-ERR"):
		return "", fmt.Errorf("NATS says %s", line)
	case line == "PING":
		_, err = fmt.Fprint(c, "PONG\r\n")
	}
	return line, err
}

// message returns the body of the next message.
func (c *natsConn) message() ([]byte, error) {
	for {
		line, err := c.line()
		if err != nil {
			return nil, err
		}
		words := strings.Fields(line)
		if len(words) < 4 || words[0] != "MSG" {
			continue
		}
		var size int
		if _, err := fmt.Sscan(words[len(words)-1], &size); err != nil {
			return nil, err
		}
		body := make([]byte, size+2)
		_, err = io.ReadFull(c.r, body)
		return body[:size], err
	}
}
