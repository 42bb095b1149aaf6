package redis_test

import (
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
)

func bench(b *testing.B, c *redis.Client) {
	p := c.Presence()
	conns, users := crowd(1000, "gw-7f3a9c2e51d04b86")
	if _, err := p.Renew(b.Context(), conns[0].GatewayID, time.Now().Add(time.Hour)); err != nil {
		b.Fatal(err)
	}
	if _, err := p.Put(b.Context(), conns); err != nil {
		b.Fatal(err)
	}
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("lookup of 1000", func() error { _, err := p.Lookup(b.Context(), users); return err })
	run("put of 1000", func() error { _, err := p.Put(b.Context(), conns); return err })
	run("put of 1", func() error { _, err := p.Put(b.Context(), conns[:1]); return err })
	run("renew", func() error {
		_, err := p.Renew(b.Context(), conns[0].GatewayID, time.Now().Add(time.Hour))
		return err
	})
	run("take", func() error { _, _, err := c.Limits().Take(b.Context(), "k", 100, 200); return err })
	run("check", func() error {
		_, err := c.Sessions().Check(b.Context(), []chat.SessionID{"s1"})
		return err
	})
	run("cache get", func() error { _, _, err := c.Cache().Get(b.Context(), "k"); return err })
	_ = c.Sessions().Allow(b.Context(), []faststate.Session{{ID: "s-7f3a9c2e51d04b86", Expires: time.Now().Add(time.Hour)}})
	sizes := map[string]int64{}
	err := c.Keys(b.Context(), func(m *driver.Client, keys []string, _ []time.Duration) error {
		for _, k := range keys {
			sizes[kindOf(k)] += m.MemoryUsage(b.Context(), k, 0).Val()
		}
		return nil
	})
	b.Log(sizes, err)
}

// kindOf is the letter that a key has after its prefix.
func kindOf(key string) string {
	for i := range key {
		if key[i] == ':' && key[i+1] != '{' {
			return key[i+1 : i+2]
		}
	}
	return ""
}

// BenchmarkSingle is one caller and one server on the same machine.
func BenchmarkSingle(b *testing.B) {
	s, err := start(b.TempDir())
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(s.Kill)
	c, err := redis.New(defaults("oc", s.addr))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	bench(b, c)
}
