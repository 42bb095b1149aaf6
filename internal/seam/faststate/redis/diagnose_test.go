package redis_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/finding"
	"github.com/oceanchat/oceanchat/internal/finding/findingtest"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
)

func TestDiagnose(t *testing.T) {
	t.Parallel()
	// The rights that docs/reference/redis.md asks for, and no more.
	const least = "ACL SETUSER oc on >hunter2 ~oc:* +@string +@hash +@set +@sortedset +@scripting +del +pexpire +time +ping -@dangerous +info"
	login := func(user, password string) func(*redis.Config) {
		return func(c *redis.Config) { c.Username, c.Password = user, config.Secret(password) }
	}
	type want struct {
		level       finding.Level
		check, text string
	}
	tests := []struct {
		name string
		args []string
		set  string // a command, once it runs
		ask  func(*redis.Config)
		want []want
		fine bool // no problem, no warning
	}{
		{name: "as it should be", args: []string{"--maxmemory", "100mb"}, fine: true, want: []want{
			{finding.OK, "redis 127.0.0.1", "master, version "},
			{finding.OK, "redis 127.0.0.1", "of 100 MiB in use, maxmemory-policy noeviction"},
			{finding.OK, "redis 127.0.0.1", "off: after a restart it is empty"},
			{finding.OK, "redis writes", "a script wrote a key"},
			{finding.OK, "clock of Redis 127.0.0.1", "this machine's"},
		}},
		{name: "the least rights", args: []string{"--maxmemory", "100mb", "--appendonly", "yes"}, set: least, ask: login("oc", "hunter2"), fine: true, want: []want{
			{finding.OK, "redis 127.0.0.1", "appendfsync not readable"},
			{finding.OK, "redis writes", "a script wrote a key"},
		}},
		{name: "too few rights", set: least, ask: func(c *redis.Config) { login("oc", "hunter2")(c); c.Prefix = "other" }, want: []want{
			{finding.Problem, "redis writes", "forbidden to this user: NOPERM"},
		}},
		{name: "wrong password", set: "CONFIG SET requirepass hunter2", ask: login("", "sesame7"), want: []want{
			{finding.Problem, "redis 127.0.0.1", "does not let us in: WRONGPASS"},
		}},
		{name: "hardly any right", set: "ACL SETUSER default -@all +ping", want: []want{
			{finding.Problem, "redis 127.0.0.1", "forbids it to this user"},
		}},
		{name: "evicts", args: []string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, want: []want{
			{finding.Problem, "redis 127.0.0.1", "maxmemory-policy allkeys-lru: it forgets who is on line"},
		}},
		{name: "would evict", args: []string{"--maxmemory-policy", "allkeys-lru"}, want: []want{
			{finding.Warning, "redis 127.0.0.1", "with a limit it would forget"},
		}},
		{name: "evicts what matters least first", args: []string{"--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"}, want: []want{
			{finding.Warning, "redis 127.0.0.1", "forgets limits and cached reads"},
		}},
		{name: "no limit", want: []want{{finding.Warning, "redis 127.0.0.1", "no limit"}}},
		{name: "full", args: []string{"--maxmemory", "1kb"}, want: []want{
			{finding.Problem, "redis 127.0.0.1", "soon nothing can be written"},
			{finding.Problem, "redis writes", "its memory is full"},
		}},
		{name: "snapshots only", args: []string{"--save", "3600 1"}, want: []want{{finding.Warning, "redis 127.0.0.1", "only snapshots"}}},
		{name: "never synced", args: []string{"--appendonly", "yes", "--appendfsync", "no"}, want: []want{{finding.Warning, "redis 127.0.0.1", "appendfsync no: after a power cut"}}},
		{name: "synced every second", args: []string{"--appendonly", "yes", "--appendfsync", "everysec"}, want: []want{{finding.Warning, "redis 127.0.0.1", "lacks the last second or two"}}},
		{name: "synced before it counts", args: []string{"--maxmemory", "100mb", "--appendonly", "yes", "--appendfsync", "always"}, fine: true, want: []want{
			{finding.OK, "redis 127.0.0.1", "appendonly, appendfsync always"},
		}},
		{name: "a replica", args: []string{"--replicaof", "127.0.0.1 1"}, want: []want{
			{finding.Problem, "redis 127.0.0.1", "replica, version"}, {finding.Problem, "redis writes", "it is a replica"},
		}},
		{name: "no Cluster", ask: func(c *redis.Config) { c.Cluster = true }, want: []want{
			{finding.Problem, "redis 127.0.0.1", "of no Cluster"}, {finding.Problem, "redis cluster", "cannot be asked"},
		}},
		{name: "of a Cluster that is not whole", args: []string{"--cluster-enabled", "yes"}, ask: func(c *redis.Config) { c.Cluster = true }, want: []want{
			{finding.Warning, "redis 127.0.0.1", "without a replica"}, {finding.Problem, "redis cluster", "0 of 16384 slots"}, {finding.Problem, "redis writes", ""},
		}},
		{name: "of a Cluster", args: []string{"--cluster-enabled", "yes"}, want: []want{{finding.Problem, "redis 127.0.0.1", "of a Cluster"}}},
		{name: "no TLS there", ask: func(c *redis.Config) { c.TLS.Enabled = true }, want: []want{{finding.Problem, "redis 127.0.0.1", "does not answer in time, by TLS"}}},
		{name: "no such file", ask: func(c *redis.Config) { c.TLS = netdoor.ClientTLS{Enabled: true, CA: "/nowhere"} }, want: []want{{finding.Problem, "redis", "/nowhere"}}},
		{name: "nobody there", ask: func(c *redis.Config) { c.Addrs = []string{"127.0.0.1:1"} }, want: []want{{finding.Problem, "redis 127.0.0.1:1", "refused"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := tt.args
			if slices.Contains(args, "--cluster-enabled") {
				bus, err := freePort()
				if err != nil {
					t.Fatal(err)
				}
				args = append(slices.Clone(args), "--cluster-port", bus)
			}
			srv := own(t, args...)
			if tt.set != "" {
				db := srv.dial()
				defer db.Close()
				var words []any
				for w := range strings.FieldsSeq(tt.set) {
					words = append(words, w)
				}
				if err := db.Do(t.Context(), words...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			cfg := defaults("oc", srv.addr)
			if tt.ask != nil {
				tt.ask(&cfg)
			}
			found := redis.Diagnose(t.Context(), cfg)
			for _, w := range tt.want {
				findingtest.Want(t, found, w.level, w.check, w.text)
			}
			if i := slices.IndexFunc(found, func(f finding.Finding) bool { return f.Level != finding.OK }); tt.fine && i >= 0 {
				t.Errorf("unwanted: %s", findingtest.Lines(found[i:i+1]))
			}
			if s := findingtest.Lines(found); strings.Contains(s, "hunter2") || strings.Contains(s, "sesame7") {
				t.Errorf("a secret is told:\n%s", s)
			}
		})
	}
}

// All servers of a Cluster are looked at, also where the settings name only one.
func TestDiagnoseCluster(t *testing.T) {
	t.Parallel()
	cfg := clusterConfig(t)
	all := cfg.Addrs
	cfg.Addrs = all[:1]
	found := redis.Diagnose(t.Context(), cfg)
	findingtest.Want(t, found, finding.OK, "redis cluster", "all slots are served")
	findingtest.Want(t, found, finding.OK, "redis writes", "a script wrote a key")
	for _, a := range all {
		findingtest.Want(t, found, finding.OK, "clock of Redis "+a, "this machine's")
	}
}
