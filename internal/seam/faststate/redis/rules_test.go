package redis_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	driver "github.com/redis/go-redis/v9"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
)

// crowd returns one connection of each of n users.
func crowd(n int, gateway chat.GatewayID) ([]faststate.Conn, []chat.UserID) {
	conns, users := make([]faststate.Conn, n), make([]chat.UserID, n)
	for i := range n {
		users[i] = chat.UserID(fmt.Sprintf("user-%06d", i))
		conns[i] = faststate.Conn{
			UserID: users[i], DeviceID: "phone", SessionID: chat.SessionID(fmt.Sprintf("session-%06d", i)), GatewayID: gateway,
			ConnectionID: chat.ConnectionID(fmt.Sprintf("c%06d", i)), Platform: 1, Status: faststate.Online, Since: time.Now(),
		}
	}
	return conns, users
}

// use calls every method of every part.
func use(ctx context.Context, c *redis.Client, now time.Time) error {
	p, s, ch := c.Presence(), c.Sessions(), c.Cache()
	conns, users := crowd(700, "g1")
	steps := []func() error{
		func() error { _, err := p.Renew(ctx, "g1", now.Add(time.Minute)); return err },
		func() error { _, err := p.Renew(ctx, "g2", now.Add(time.Second)); return err },
		func() error { _, err := p.Put(ctx, conns); return err },
		func() error { _, err := p.Renew(ctx, "g1", now.Add(time.Minute)); return err },
		func() error { _, err := p.Lookup(ctx, users); return err },
		func() error { _, err := p.Remove(ctx, conns[:300], now); return err },
		func() error { _, err := p.LastSeen(ctx, users); return err },
		func() error { _, err := p.Sweep(ctx, now.Add(30*time.Second)); return err },
		func() error {
			return s.Allow(ctx, []faststate.Session{{ID: "s1", Expires: now.Add(time.Hour)}, {ID: "s2", Expires: now.Add(time.Hour)}})
		},
		func() error { return s.Deny(ctx, []chat.SessionID{"s2", "s3"}) },
		func() error { _, err := s.Check(ctx, []chat.SessionID{"s1", "s2", "s4"}); return err },
		func() error { _, _, err := c.Limits().Take(ctx, "k", 1, 5); return err },
		func() error {
			_, lease, err := ch.Get(ctx, "a")
			if err != nil {
				return err
			}
			return ch.Fill(ctx, "a", lease, []byte("1"), time.Minute)
		},
		func() error { _, _, err := ch.Get(ctx, "b"); return err },
		func() error { return ch.Drop(ctx, "c", "d") },
		func() error { return c.Ping(ctx) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// tap notes the commands that a client sends.
type tap struct {
	mu    sync.Mutex
	lines [][]any
}

func (p *tap) note(cmds ...driver.Cmder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range cmds {
		p.lines = append(p.lines, c.Args())
	}
}

func (p *tap) DialHook(next driver.DialHook) driver.DialHook { return next }

func (p *tap) ProcessHook(next driver.ProcessHook) driver.ProcessHook {
	return func(ctx context.Context, cmd driver.Cmder) error { p.note(cmd); return next(ctx, cmd) }
}

func (p *tap) ProcessPipelineHook(next driver.ProcessPipelineHook) driver.ProcessPipelineHook {
	return func(ctx context.Context, cmds []driver.Cmder) error { p.note(cmds...); return next(ctx, cmds) }
}

// slot is that of a key in a Cluster: CRC16 (XMODEM) of its hash tag.
func slot(key string) int {
	if _, after, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(after, "}"); ok && tag != "" {
			key = tag
		}
	}
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % 16384)
}

// TestSlots: the keys of each command lie in one slot, and so do the prefixes from which scripts make names. No command
// lists keys.
func TestSlots(t *testing.T) {
	if got := slot("123456789"); got != 12739 {
		t.Fatalf("slot(123456789) = %d; want 12739, as the Cluster specification says", got)
	}
	c := dial(t, singleConfig(t))
	var p tap
	c.DB().AddHook(&p)
	if err := use(t.Context(), c, time.Now()); err != nil {
		t.Fatal(err)
	}
	scripts := map[string]bool{}
	for _, line := range p.lines {
		name := strings.ToUpper(fmt.Sprint(line[0]))
		var keys []any
		switch name {
		case "EVAL", "EVALSHA":
			n := line[2].(int)
			keys = append(keys, line[3:3+n]...)
			for _, arg := range line[3+n:] {
				if strings.Contains(fmt.Sprint(arg), "{") {
					keys = append(keys, arg)
				}
			}
			if name == "EVALSHA" {
				scripts[fmt.Sprint(line[1])] = true
			}
		case "MGET", "DEL":
			keys = line[1:]
		case "GET", "SET", "PING", "HELLO":
			continue
		default:
			t.Errorf("command %s is not known to this test", name)
			continue
		}
		for _, k := range keys[1:] {
			if a, b := fmt.Sprint(keys[0]), fmt.Sprint(k); slot(a) != slot(b) {
				t.Fatalf("%s has keys of two slots: %s and %s", name, a, b)
			}
		}
	}
	if want := 10; len(scripts) != want {
		t.Errorf("the test saw %d scripts; want all %d", len(scripts), want)
	}
}

// TestSpread: the parts of presence are spread over the masters of a Cluster.
func TestSpread(t *testing.T) {
	for masters, least := range map[int]int{3: 16, 6: 6, 12: 2} {
		count := make([]int, masters)
		for i := range redis.Buckets {
			count[slot(fmt.Sprintf("oc:{p%02d}:leases", i))*masters/16384]++
		}
		for m, n := range count {
			if n < least {
				t.Errorf("master %d of %d has %d parts of %d; want at least %d", m, masters, n, redis.Buckets, least)
			}
		}
	}
}

// TestEveryKeyLapses: invariant 7: whatever is done, no key stays for ever.
func TestEveryKeyLapses(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			c := dial(t, kind.config(t))
			if err := use(t.Context(), c, time.Now()); err != nil {
				t.Fatal(err)
			}
			var n atomic.Int64
			err := c.Keys(t.Context(), func(_ *driver.Client, keys []string, ttls []time.Duration) error {
				n.Add(int64(len(keys)))
				for i, key := range keys {
					if ttls[i] < 0 {
						t.Errorf("%s has no time to live", key)
					}
				}
				return nil
			})
			if err != nil || n.Load() < 700 {
				t.Errorf("Keys = %d, %v; want more than 700", n.Load(), err)
			}
		})
	}
}

// TestConnectionsOutliveTheirKeys: renewals put off the end of what is still there, and of nothing else.
func TestConnectionsOutliveTheirKeys(t *testing.T) {
	c, k := frozen(t, singleConfig(t))
	p := c.Presence()
	conns, users := crowd(20, "g1")
	gone := faststate.Conn{UserID: "gone", DeviceID: "phone", GatewayID: "g2", ConnectionID: "c"}
	for _, g := range []chat.GatewayID{"g1", "g2"} {
		if _, err := p.Renew(t.Context(), g, k.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Put(t.Context(), append(conns, gone)); err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	for at := time.Duration(0); at < 8*day; at += 2 * time.Hour {
		// A lease that is renewed every hour, at a clock that keys see and leases do not.
		for range 2 {
			if known, err := p.Renew(t.Context(), "g1", k.Now().Add(time.Hour)); err != nil || !known {
				t.Fatalf("Renew after %v = %t, %v; want true", at, known, err)
			}
		}
		if err := c.Age(t.Context(), 2*time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := p.Lookup(t.Context(), users); err != nil || len(got) != len(users) {
		t.Errorf("Lookup after eight days = %d, %v; want %d", len(got), err, len(users))
	}
	err := c.Keys(t.Context(), func(_ *driver.Client, keys []string, _ []time.Duration) error {
		for _, key := range keys {
			if strings.HasSuffix(key, ":u:gone") {
				t.Errorf("%s is still there; nobody renewed its gateway for eight days", key)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestSweepLeavesNothing: after a gateway died only last-seen times are left of its users.
func TestSweepLeavesNothing(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			c, k := frozen(t, kind.config(t))
			p := c.Presence()
			conns, users := crowd(10_000, "g1") // each bucket takes more than one script
			if _, err := p.Renew(t.Context(), "g1", k.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := p.Put(t.Context(), conns); err != nil {
				t.Fatal(err)
			}
			k.Advance(2 * time.Minute)
			if got, err := p.Sweep(t.Context(), k.Now()); err != nil || len(got) != 1 {
				t.Errorf("Sweep = %v, %v; want g1", got, err)
			}
			var seen, other atomic.Int64
			err := c.Keys(t.Context(), func(_ *driver.Client, keys []string, _ []time.Duration) error {
				for _, key := range keys {
					switch {
					case strings.Contains(key, "}:t:"):
						seen.Add(1)
					case !strings.HasSuffix(key, ":era"):
						other.Add(1)
					}
				}
				return nil
			})
			if err != nil || int(seen.Load()) != len(users) || other.Load() != 0 {
				t.Errorf("after Sweep: %d last-seen times, %d other keys, %v; want %d, 0", seen.Load(), other.Load(), err, len(users))
			}
		})
	}
}

// TestForgottenScripts: a server that lost its scripts gets them again, in a batch too.
func TestForgottenScripts(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			c := dial(t, kind.config(t))
			for range 3 {
				if err := c.DB().ScriptFlush(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				if err := use(t.Context(), c, time.Now()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Invariant 10: a newer version may say more of a connection. It is understood without that, and keeps it.
func TestLaterEntry(t *testing.T) {
	const more = "\x1fmore\x1f\x1fof it"
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			c := dial(t, kind.config(t))
			p := c.Presence()
			mustRenew(t, p, false)
			conns, users := crowd(1, "g1")
			conns[0].Since = time.UnixMicro(conns[0].Since.UnixMicro())
			mustPut(t, p, conns)
			record := func(f func(m *driver.Client, key, val string) error) {
				t.Helper()
				found := 0
				err := c.Keys(t.Context(), func(m *driver.Client, keys []string, _ []time.Duration) error {
					for _, key := range keys {
						if !strings.HasSuffix(key, ":u:"+string(users[0])) {
							continue
						}
						found++
						val, err := m.Get(t.Context(), key).Result()
						if err == nil {
							err = f(m, key, val)
						}
						return err
					}
					return nil
				})
				if err != nil || found != 1 {
					t.Fatalf("%d records of %s, %v; want 1", found, users[0], err)
				}
			}
			record(func(m *driver.Client, key, val string) error {
				return m.Set(t.Context(), key, val+more, time.Minute).Err()
			})
			other := conns[0]
			other.DeviceID, other.ConnectionID = "other", "other"
			others, err := p.Put(t.Context(), []faststate.Conn{other})
			if diff := cmp.Diff([][]faststate.Conn{conns}, others); err != nil || diff != "" {
				t.Errorf("Put: %v (-want +got):\n%s", err, diff)
			}
			mustFind(t, p, users, 2)
			record(func(_ *driver.Client, _, val string) error {
				if !strings.Contains(val, more) {
					t.Errorf("the record is %q; want %q kept in it", val, more)
				}
				return nil
			})
		})
	}
}

// TestStrangeIDs: no id breaks out of its field or its key.
func TestStrangeIDs(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			c := dial(t, kind.config(t))
			p := c.Presence()
			var want []faststate.Conn
			at := time.UnixMicro(time.Now().UnixMicro())
			for i, s := range []string{"%", "%1F", "\x1e\x1f\x1d", "a~b", "~", "{x}", "}{", "ü\x00\n"} {
				g := chat.GatewayID(s + "g")
				if _, err := p.Renew(t.Context(), g, time.Now().Add(time.Minute)); err != nil {
					t.Fatal(err)
				}
				want = append(want, faststate.Conn{
					UserID: chat.UserID(s), DeviceID: chat.DeviceID(s), SessionID: chat.SessionID(s), GatewayID: g,
					ConnectionID: chat.ConnectionID(s), Platform: int32(i), Status: faststate.Away, Since: at,
				})
			}
			if _, err := p.Put(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			var users []chat.UserID
			for _, x := range want {
				users = append(users, x.UserID)
			}
			got, err := p.Lookup(t.Context(), users)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("Lookup: %v (-want +got):\n%s", err, diff)
			}
			gone, err := p.Remove(t.Context(), want, at)
			if err != nil || fmt.Sprint(gone) != fmt.Sprint(users) {
				t.Errorf("Remove = %q, %v; want %q", gone, err, users)
			}
		})
	}
}

// TestLimitsOverInstances: APIGW-3: instances share one bucket, whatever their clocks say.
func TestLimitsOverInstances(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			cfg := kind.config(t)
			var got atomic.Int64
			var wg sync.WaitGroup
			for range 3 {
				l := dial(t, cfg).Limits()
				for range 4 {
					wg.Go(func() {
						for range 20 {
							ok, _, err := l.Take(t.Context(), "api/user/ann", 0.001, 50)
							if err != nil {
								t.Errorf("Take = %v; want no error", err)
							}
							if ok {
								got.Add(1)
							}
						}
					})
				}
			}
			wg.Wait()
			if got.Load() != 50 {
				t.Errorf("three instances got %d tokens of 50; want 50", got.Load())
			}
		})
	}
}

// TestSkewedClocks: a lease lasts as long as its gateway's service means, whatever the other's clock says.
func TestSkewedClocks(t *testing.T) {
	c := dial(t, singleConfig(t))
	ahead := time.Now().Add(time.Hour)
	p := c.Presence()
	conns, users := crowd(1, "g1")
	if _, err := p.Renew(t.Context(), "g1", time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Put(t.Context(), conns); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Lookup(t.Context(), users); err != nil || len(got) != 1 {
		t.Errorf("Lookup = %v, %v; want one", got, err)
	}
	// Sweep is told a time; that of its own clock is what it is compared with.
	if got, err := p.Sweep(t.Context(), time.Now()); err != nil || len(got) != 0 {
		t.Errorf("Sweep(now) = %v, %v; want nobody", got, err)
	}
	if got, err := p.Sweep(t.Context(), ahead); err != nil || len(got) != 1 {
		t.Errorf("Sweep(in an hour) = %v, %v; want g1", got, err)
	}
}

func TestLargeValuesAreNotCached(t *testing.T) {
	cfg := singleConfig(t)
	cfg.MaxValue = 1024
	ch := dial(t, cfg).Cache()
	for size, want := range map[int]bool{1024: true, 1025: false} {
		key := fmt.Sprint("k", size)
		_, lease, err := ch.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.Fill(t.Context(), key, lease, make([]byte, size), time.Minute); err != nil {
			t.Errorf("Fill of %d bytes = %v; want no error", size, err)
		}
		if val, _, err := ch.Get(t.Context(), key); err != nil || (val != nil) != want {
			t.Errorf("Get after Fill of %d bytes found %t, %v; want %t", size, val != nil, err, want)
		}
	}
}

func TestConfig(t *testing.T) {
	tests := []struct {
		name string
		cfg  redis.Config
		want string
	}{
		{"single", redis.Config{Addrs: []string{"a:1"}, Prefix: "oc"}, ""},
		{"cluster", redis.Config{Addrs: []string{"a:1", "b:1"}, Prefix: "oc", Cluster: true}, ""},
		{"no address", redis.Config{Prefix: "oc"}, "addrs: at least one"},
		{"two singles", redis.Config{Addrs: []string{"a:1", "b:1"}, Prefix: "oc"}, "addrs: one, or cluster: true"},
		{"a tag in the prefix", redis.Config{Addrs: []string{"a:1"}, Prefix: "{oc}"}, "prefix: a word without braces"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := tt.cfg.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("Validate = %q; want %q", got, tt.want)
			}
		})
	}
}

func TestServers(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			cfg := kind.config(t)
			got, err := dial(t, cfg).Servers(t.Context())
			if err != nil || len(got) < len(cfg.Addrs) {
				t.Fatalf("Servers = %v, %v; want at least %d", got, err, len(cfg.Addrs))
			}
			for _, s := range got {
				if s.Addr == "" || s.Version == "" || s.Policy == "" || s.Memory == 0 || s.Ahead.Abs() > time.Minute {
					t.Errorf("Servers = %+v; want its address, version, policy, memory and about our time", s)
				}
			}
		})
	}
}
