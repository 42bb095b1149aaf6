package local

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

const redisConfig = `# Made at each start of the local cluster.
bind 127.0.0.1
port %s
dir "%s"
requirepass %s
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
`

func (p *Parts) prepareRedis() error {
	path, err := redisServer()
	if err != nil {
		return err
	}
	addrs, err := p.ports.take(1)
	if err != nil {
		return err
	}
	dir := filepath.Join(p.o.Dir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(addrs[0])
	file := filepath.Join(p.o.Dir, "redis.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, redisConfig, port, dir, p.redis), 0o600); err != nil {
		return err
	}
	p.Redis = p.process("redis", addrs[0], path, file)
	password := p.redis
	p.Redis.check = func(ctx context.Context, p *Process) error { return pings(ctx, p.Addr, password) }
	return nil
}

// EmptyRedis kills Redis and takes its files away; started again it knows nothing.
func (p *Parts) EmptyRedis() error {
	p.Redis.Kill()
	files, err := filepath.Glob(filepath.Join(p.o.Dir, "redis", "*"))
	if err == nil && len(files) == 0 {
		err = errors.New("there are no files of Redis")
	}
	for _, f := range files {
		err = errors.Join(err, os.RemoveAll(f))
	}
	return err
}

// pings asks Redis whether it answers: while it reads its files it does not.
func pings(ctx context.Context, addr, password string) error {
	return ask(ctx, addr, password, "+PONG", "PING")
}

// flush deletes all keys of a prefix.
func flush(ctx context.Context, addr, password, prefix string) error {
	const script = `for _, k in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', k) end return 1`
	return ask(ctx, addr, password, ":1", "EVAL", script, "0", prefix+"*")
}

// ask logs in to Redis and sends a command whose answer must be the line want.
func ask(ctx context.Context, addr, password, want string, command ...string) error {
	conn, err := open(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var text strings.Builder
	for _, words := range [][]string{{"AUTH", password}, command} {
		fmt.Fprintf(&text, "*%d\r\n", len(words))
		for _, w := range words {
			fmt.Fprintf(&text, "$%d\r\n%s\r\n", len(w), w)
		}
	}
	if _, err := conn.Write([]byte(text.String())); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	for _, want := range []string{"+OK", want} {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if line = strings.TrimSpace(line); line != want {
			return errors.New("redis says " + line)
		}
	}
	return nil
}

// open connects until ctx ends, which also ends what is read and written.
func open(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(end)
	}
	return conn, nil
}
