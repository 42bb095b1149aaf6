package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
)

// failing is what each part answers while Redis is away.
func failing(t *testing.T, c *redis.Client) {
	t.Helper()
	p, s := c.Presence(), c.Sessions()
	conns, users := crowd(3, "g1")
	_, put := p.Put(t.Context(), conns)
	_, look := p.Lookup(t.Context(), users)
	_, renew := p.Renew(t.Context(), "g1", time.Now().Add(time.Minute))
	_, sweep := p.Sweep(t.Context(), time.Now())
	_, _, take := c.Limits().Take(t.Context(), "k", 1, 1)
	_, _, get := c.Cache().Get(t.Context(), "k")
	for name, err := range map[string]error{
		"Put": put, "Lookup": look, "Renew": renew, "Sweep": sweep, "Take": take, "Get": get,
		"Fill": c.Cache().Fill(t.Context(), "k", 1, nil, time.Minute), "Drop": c.Cache().Drop(t.Context(), "k"), "Ping": c.Ping(t.Context()),
	} {
		if !fault.IsReason(err, fault.Overloaded) {
			t.Errorf("%s without Redis = %v; want %s", name, err, fault.Overloaded)
		}
	}
	_, check := s.Check(t.Context(), []chat.SessionID{"s1"})
	for name, err := range map[string]error{
		"Check": check, "Deny": s.Deny(t.Context(), []chat.SessionID{"s1"}),
		"Allow": s.Allow(t.Context(), []faststate.Session{{ID: "s1", Expires: time.Now().Add(time.Hour)}}),
	} {
		if !fault.IsReason(err, fault.SessionStoreDown) {
			t.Errorf("%s without Redis = %v; want %s", name, err, fault.SessionStoreDown)
		}
	}
}

func mustRenew(t *testing.T, p *redis.Presence, want bool) {
	t.Helper()
	if known, err := p.Renew(t.Context(), "g1", time.Now().Add(time.Minute)); err != nil || known != want {
		t.Errorf("Renew = %t, %v; want %t", known, err, want)
	}
}

func mustFind(t *testing.T, p *redis.Presence, users []chat.UserID, want int) {
	t.Helper()
	if got, err := p.Lookup(t.Context(), users); err != nil || len(got) != want {
		t.Errorf("Lookup of %d users = %d, %v; want %d", len(users), len(got), err, want)
	}
}

func mustPut(t *testing.T, p *redis.Presence, conns []faststate.Conn) {
	t.Helper()
	if _, err := p.Put(t.Context(), conns); err != nil {
		t.Fatalf("Put of %d connections = %v; want no error", len(conns), err)
	}
}

func mustSweep(t *testing.T, p *redis.Presence) {
	t.Helper()
	if gone, err := p.Sweep(t.Context(), time.Now()); err != nil || len(gone) != 0 {
		t.Errorf("Sweep = %v, %v; want nobody gone", gone, err)
	}
}

// TestKilledAndEmpty: Redis dies and comes back with nothing. Calls fail with what callers can map, and afterwards the
// same client works: the gateway learns that it must register, sessions are unknown, old leases fill nothing.
func TestKilledAndEmpty(t *testing.T) {
	s := own(t)
	c := dial(t, defaults("oc", s.addr))
	p := c.Presence()
	conns, users := crowd(500, "g1")
	mustRenew(t, p, false)
	mustPut(t, p, conns)
	mustRenew(t, p, true)
	if err := c.Sessions().Allow(t.Context(), []faststate.Session{{ID: "s1", Expires: time.Now().Add(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	_, lease, err := c.Cache().Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	s.Kill()
	failing(t, c)
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Redis is back", func() error { return c.Ping(t.Context()) })
	mustFind(t, p, users, 0)
	mustPut(t, p, conns[:1]) // a hello before the lease is no connection
	mustFind(t, p, users, 0)
	mustRenew(t, p, false)
	mustPut(t, p, conns)
	mustRenew(t, p, true)
	mustFind(t, p, users, len(users))
	if got, err := c.Sessions().Check(t.Context(), []chat.SessionID{"s1"}); err != nil || got[0] != faststate.Unknown {
		t.Errorf("Check = %v, %v; want unknown", got, err)
	}
	if err := c.Cache().Fill(t.Context(), "k", lease, []byte("old"), time.Minute); err != nil {
		t.Errorf("Fill = %v; want no error", err)
	}
	if val, _, err := c.Cache().Get(t.Context(), "k"); err != nil || val != nil {
		t.Errorf("Get = %q, %v; want nothing", val, err)
	}
}

// TestKilledAndKept: Redis comes back with what it had written down, which may lack the last of it. Gateways are asked
// to register once more; what is there counts all the time.
func TestKilledAndKept(t *testing.T) {
	s := own(t, "--appendonly", "yes", "--appendfsync", "always")
	c := dial(t, defaults("oc", s.addr))
	p := c.Presence()
	conns, users := crowd(500, "g1")
	mustRenew(t, p, false)
	mustPut(t, p, conns)
	mustSweep(t, p)
	mustRenew(t, p, true)
	s.Kill()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Redis is back", func() error { return c.Ping(t.Context()) })
	mustFind(t, p, users, len(users))
	mustRenew(t, p, true) // nobody has noticed yet
	mustSweep(t, p)
	mustRenew(t, p, false)
	mustFind(t, p, users, len(users))
	mustRenew(t, p, true)
	mustSweep(t, p)
	mustRenew(t, p, true)
}

// TestLostMaster: of a Cluster one master comes back empty. Its part of presence is missed at the next renewal, and the
// gateway registers everything again; the rest counts all the time.
func TestLostMaster(t *testing.T) {
	cfg := ownCluster(t)
	c := dial(t, cfg)
	p := c.Presence()
	conns, users := crowd(3000, "g1")
	mustRenew(t, p, false)
	mustPut(t, p, conns)
	mustRenew(t, p, true)
	victim := shared.nodes[1]
	victim.Kill()
	// The driver looks for another way to the part that is away, so this takes as long as it may.
	if _, err := p.Lookup(t.Context(), users); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Lookup without a master = %v; want %s", err, fault.Overloaded)
	}
	if err := victim.run(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Cluster is whole", func() error {
		got, err := p.Lookup(t.Context(), users)
		if err == nil && (len(got) == 0 || len(got) == len(users)) {
			err = fmt.Errorf("%d of %d connections", len(got), len(users))
		}
		return err
	})
	eventually(t, "the loss is noticed", func() error {
		known, err := p.Renew(t.Context(), "g1", time.Now().Add(time.Minute))
		if err == nil && known {
			err = errors.New("the lease is known")
		}
		return err
	})
	mustPut(t, p, conns)
	mustFind(t, p, users, len(users))
	mustRenew(t, p, true)
}

// TestWrongAddress: without Redis New works and calls fail.
func TestWrongAddress(t *testing.T) {
	for _, cluster := range []bool{false, true} {
		t.Run(fmt.Sprintf("cluster %t", cluster), func(t *testing.T) {
			cfg := defaults("oc", "127.0.0.1:1")
			cfg.Cluster, cfg.CallTimeout = cluster, 200*time.Millisecond
			failing(t, dial(t, cfg))
		})
	}
}

// The rights that the ACL user needs; docs/reference/redis.md names the same.
const (
	leastRights    = "+@string +@hash +@set +@sortedset +@scripting +del +pexpire +time +ping -@dangerous +info"
	clusterRights  = "+cluster|slots +cluster|shards"
	rightsUser     = "oceanchat"
	rightsPassword = "good"
)

// allow makes the user at a server.
func allow(t *testing.T, s *server, keys, rights string) {
	t.Helper()
	admin := s.dial()
	defer admin.Close()
	line := []any{"ACL", "SETUSER", rightsUser, "on", ">" + rightsPassword, "~" + keys}
	for r := range strings.FieldsSeq(rights) {
		line = append(line, r)
	}
	if err := admin.Do(t.Context(), line...).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestRights: credentials are used, a wrong one is an error, and the documented rights are enough.
func TestRights(t *testing.T) {
	s := own(t)
	allow(t, s, "oc:*", leastRights)
	admin := s.dial()
	defer admin.Close()
	if err := admin.ConfigSet(t.Context(), "requirepass", "right").Err(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		user, password string
		want           bool
	}{
		{"", "right", true},
		{rightsUser, rightsPassword, true},
		{"", "", false},
		{rightsUser, "bad", false},
	} {
		cfg := defaults("oc", s.addr)
		cfg.Username, cfg.Password = tt.user, config.Secret(tt.password)
		c := dial(t, cfg)
		err := use(t.Context(), c, time.Now())
		if (err == nil) != tt.want {
			t.Errorf("use as %q = %v; want success %t", tt.user, err, tt.want)
		}
		if _, err := c.Servers(t.Context()); (err == nil) != tt.want {
			t.Errorf("Servers as %q = %v; want success %t", tt.user, err, tt.want)
		}
	}
}

func TestRightsInACluster(t *testing.T) {
	cfg := ownCluster(t)
	for _, s := range shared.nodes {
		allow(t, s, "test-*", leastRights+" "+clusterRights)
	}
	cfg.Username, cfg.Password = rightsUser, config.Secret(rightsPassword)
	if err := use(t.Context(), dial(t, cfg), time.Now()); err != nil {
		t.Errorf("use with the documented rights = %v; want no error", err)
	}
}
