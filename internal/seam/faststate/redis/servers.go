package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Server is what an operator should know of a Redis server that takes writes.
type Server struct {
	Addr      string
	Version   string
	Policy    string // maxmemory_policy; presence needs noeviction
	Memory    int64  // bytes in use
	MaxMemory int64  // bytes; 0 is no limit
	AOF       bool   // whether writes go to a file
	Replicas  int    // that are connected
	// Ahead is how far its clock is before ours, to half a round trip. Nothing depends on it but last-seen times.
	Ahead time.Duration
}

// Servers asks every server that takes writes what it is.
func (c *Client) Servers(ctx context.Context) ([]Server, error) {
	ctx, cancel := c.within(ctx)
	defer cancel()
	var mu sync.Mutex // guards found
	var found []Server
	err := c.masters(ctx, func(ctx context.Context, m *redis.Client) error {
		s, err := ask(ctx, m)
		if err != nil {
			return fmt.Errorf("ask %s: %w", m.Options().Addr, err)
		}
		mu.Lock()
		defer mu.Unlock()
		found = append(found, s)
		return nil
	})
	return found, down("ask servers", err)
}

func ask(ctx context.Context, m *redis.Client) (Server, error) {
	sent := time.Now()
	at, err := m.Time(ctx).Result()
	if err != nil {
		return Server{}, err
	}
	got := time.Now()
	text, err := m.Info(ctx).Result()
	if err != nil {
		return Server{}, err
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[k] = v
		}
	}
	number := func(key string) int64 {
		n, _ := strconv.ParseInt(info[key], 10, 64) // what is missing reads 0
		return n
	}
	return Server{
		Addr: m.Options().Addr, Version: info["redis_version"], Policy: info["maxmemory_policy"],
		Memory: number("used_memory"), MaxMemory: number("maxmemory"), AOF: info["aof_enabled"] == "1",
		Replicas: int(number("connected_slaves")), Ahead: at.Sub(sent.Add(got.Sub(sent) / 2)),
	}, nil
}
