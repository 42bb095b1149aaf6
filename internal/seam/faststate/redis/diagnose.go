package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oceanchat/oceanchat/internal/finding"
)

const (
	checkRedis = "redis"
	// diagnoseTimeout bounds a whole diagnosis.
	diagnoseTimeout = 5 * time.Second
	// slow is a round trip that users feel, as a request makes several.
	slow = 20 * time.Millisecond
	// allSlots are those of a Cluster.
	allSlots = 16384
	// writeScript is what Diagnose writes, for a second: rights, memory, disk and role of a server show only by a write.
	writeScript = `return redis.call('SET', KEYS[1], '1', 'PX', 1000)`
)

// Diagnose looks at every server of cfg: each address by itself and, in a Cluster, each server that these tell of. It
// writes one key, <prefix>:doctor, that lives for a second, and ends within five.
func Diagnose(ctx context.Context, cfg Config) []finding.Finding {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	opts, err := options(cfg)
	if err != nil {
		return []finding.Finding{finding.Bad(checkRedis, finding.Text(err), "correct redis.tls")}
	}
	silence()
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout, opts.PoolTimeout = 0, 0, 0, 0 // the driver's own; ctx bounds all
	opts.PoolSize, opts.MaxActiveConns = 2, 2
	g := &ward{cfg: cfg, opts: opts}
	defer g.close()
	written := make(chan finding.Finding, 1)
	go func() { written <- g.write(ctx) }()
	nodes := g.visit(ctx, cfg.Addrs)
	var found []finding.Finding
	if cfg.Cluster {
		var more []string
		if more, found = g.members(ctx); len(more) > 0 {
			nodes = append(nodes, g.visit(ctx, more)...)
		}
	}
	for _, n := range nodes {
		found = append(found, n...)
	}
	return append(found, <-written)
}

// ward is the servers under diagnosis.
type ward struct {
	cfg  Config
	opts *redis.UniversalOptions

	mu      sync.Mutex // guards below
	clients map[string]*redis.Client
}

// client returns the connection to one server.
func (g *ward) client(addr string) *redis.Client {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.clients[addr]; c != nil {
		return c
	}
	o := *g.opts
	o.Addrs = []string{addr}
	c := redis.NewClient(o.Simple())
	if g.clients == nil {
		g.clients = map[string]*redis.Client{}
	}
	g.clients[addr] = c
	return c
}

func (g *ward) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.clients {
		_ = c.Close() // it fails only where it is closed
	}
}

// visit looks at all addresses at once.
func (g *ward) visit(ctx context.Context, addrs []string) [][]finding.Finding {
	found := make([][]finding.Finding, len(addrs))
	var wg sync.WaitGroup
	for i, a := range addrs {
		c := g.client(a)
		wg.Go(func() { found[i] = g.node(ctx, checkRedis+" "+a, c) })
	}
	wg.Wait()
	return found
}

// node looks at one server.
func (g *ward) node(ctx context.Context, check string, c *redis.Client) []finding.Finding {
	if err := c.Ping(ctx).Err(); err != nil { // the first one connects
		return []finding.Finding{g.unreached(check, err)}
	}
	sent := time.Now()
	at, err := c.Time(ctx).Result()
	half := time.Since(sent) / 2
	if err != nil {
		return []finding.Finding{g.unreached(check, err)}
	}
	text, err := c.Info(ctx).Result()
	if err != nil {
		return []finding.Finding{g.unreached(check, err)}
	}
	i := infoOf(text)
	found := []finding.Finding{g.about(check, i, 2*half)}
	found = append(found, memory(check+" memory", i)...)
	found = append(found, g.disk(ctx, check+" persistence", c, i)...)
	return append(found, finding.Clock("clock of Redis "+c.Options().Addr, at.Sub(sent.Add(half)), half))
}

func (g *ward) unreached(check string, err error) finding.Finding {
	text := finding.Text(err)
	var wire net.Error
	switch {
	case strings.HasPrefix(text, "WRONGPASS"), strings.HasPrefix(text, "NOAUTH"), strings.Contains(text, "without any password configured"):
		return finding.Bad(check, "does not let us in: "+text, "correct redis.username and redis.password, or the ACL of the server")
	case strings.HasPrefix(text, "NOPERM"):
		return finding.Bad(check, "forbids it to this user: "+text, "give the user the rights that docs/reference/redis.md names")
	case strings.HasPrefix(text, "LOADING"):
		return finding.Bad(check, "is reading its file", "wait until it has")
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"), strings.Contains(text, "EOF"):
		return finding.Bad(check, "cannot be spoken with: "+text, "make redis.tls.enabled and its files fit the server (tls-port, tls-auth-clients)")
	case !errors.As(err, &wire) && !errors.Is(err, context.DeadlineExceeded), wire != nil && !wire.Timeout():
		return finding.Bad(check, "cannot be reached: "+text, "start it, or correct redis.addrs and the network between")
	case g.cfg.TLS.Enabled: // a server without it waits for the end of what it takes for a line
		return finding.Bad(check, "does not answer in time, by TLS", "look whether its port has TLS, or set redis.tls.enabled: false")
	default:
		return finding.Bad(check, "does not answer in time", "look whether it hangs, and at the network between")
	}
}

// info is what INFO says.
type info map[string]string

func infoOf(text string) info {
	i := info{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			i[k] = v
		}
	}
	return i
}

func (i info) number(key string) int64 {
	n, _ := strconv.ParseInt(i[key], 10, 64) // what is missing reads 0
	return n
}

// about judges what a server is.
func (g *ward) about(check string, i info, trip time.Duration) finding.Finding {
	version, role := i["redis_version"], i["role"]
	if role == "slave" {
		role = "replica"
	}
	found := fmt.Sprintf("%s, version %s, round trip %s", role, version, finding.Round(trip))
	switch clustered := i["cluster_enabled"] == "1"; {
	case old(version):
		return finding.Bad(check, found, "run Redis 6.2 or newer, or Valkey")
	case clustered && !g.cfg.Cluster:
		return finding.Bad(check, found+", of a Cluster", "set redis.cluster: true")
	case !clustered && g.cfg.Cluster:
		return finding.Bad(check, found+", of no Cluster", "set redis.cluster: false, or cluster-enabled yes on the server")
	case role == "replica" && !g.cfg.Cluster:
		return finding.Bad(check, found+": it takes no writes", "name the master in redis.addrs")
	case role == "replica" && i["master_link_status"] != "up":
		return finding.Warn(check, found+", cut off from its master", "look at the log of both")
	case role == "master" && clustered && i.number("connected_slaves") == 0:
		return finding.Warn(check, found+", without a replica", "give each master a replica: without one its part of presence and sessions is away while it is")
	case trip > slow:
		return finding.Warn(check, found, "that is slow: run it nearer, or look what keeps it busy")
	}
	return finding.Good(check, "%s", found)
}

// old says whether a version is below 6.2.
func old(version string) bool {
	a, rest, _ := strings.Cut(version, ".")
	b, _, _ := strings.Cut(rest, ".")
	x, err1 := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	return err1 == nil && err2 == nil && (x < 6 || x == 6 && y < 2)
}

// memory judges what happens when it is full. Presence must not forget connections one by one: nobody would notice.
func memory(check string, i info) (found []finding.Finding) {
	policy, most, used := i["maxmemory_policy"], i.number("maxmemory"), i.number("used_memory")
	state := fmt.Sprintf("%s of %s in use, maxmemory-policy %s", finding.Bytes(used), finding.Bytes(most), policy)
	if most == 0 {
		state = fmt.Sprintf("%s in use, no limit, maxmemory-policy %s", finding.Bytes(used), policy)
	}
	const set = "CONFIG SET maxmemory-policy noeviction, and in redis.conf"
	switch {
	case policy == "volatile-ttl":
		return []finding.Finding{finding.Warn(check, state+": it forgets limits and cached reads, then who is on line", set)}
	case policy != "noeviction" && most > 0:
		return []finding.Finding{finding.Bad(check, state+": it forgets who is on line and which sessions ended", set)}
	case policy != "noeviction":
		return []finding.Finding{finding.Warn(check, state+": with a limit it would forget who is on line", set)}
	case most > 0 && used > most*95/100:
		return []finding.Finding{finding.Bad(check, state+": soon nothing can be written", "raise maxmemory, or add masters to the Cluster")}
	case most > 0 && used > most*80/100:
		return []finding.Finding{finding.Warn(check, state, "raise maxmemory, or add masters to the Cluster")}
	case most == 0:
		return []finding.Finding{finding.Warn(check, state+": when memory runs out the system kills it", "set maxmemory in redis.conf to what the machine can spare")}
	}
	return []finding.Finding{finding.Good(check, "%s", state)}
}

// disk judges what a server comes back with. An empty one is noticed and filled again; one that reads an old file may
// let in a session that was ended since.
func (g *ward) disk(ctx context.Context, check string, c *redis.Client, i info) []finding.Finding {
	conf, err := c.ConfigGet(ctx, "save").Result() // denied to the least of users
	sync, _ := c.ConfigGet(ctx, "appendfsync").Result()
	saves := conf["save"] != ""
	if err != nil {
		saves = i.number("rdb_saves") > 0
	}
	switch aof := i["aof_enabled"] == "1"; {
	case i["rdb_last_bgsave_status"] == "err" && saves, aof && i["aof_last_write_status"] == "err":
		return []finding.Finding{finding.Bad(check, "it cannot write its file, and so may refuse all writes", "look at its log and make room on its disk")}
	case aof && sync["appendfsync"] != "" && sync["appendfsync"] != "always":
		return []finding.Finding{finding.Warn(check, fmt.Sprintf("appendonly, appendfsync %s: after a power cut its file lacks the last %s, and sessions that were ended then count as open until their access token ends",
			sync["appendfsync"], or(map[string]string{"everysec": "second or two"}[sync["appendfsync"]], "half minute or more")),
			"CONFIG SET appendfsync always, and in redis.conf, or switch persistence off (appendonly no, save \"\"): an empty Redis is noticed and filled again")}
	case aof:
		return []finding.Finding{finding.Good(check, "appendonly, appendfsync %s", or(sync["appendfsync"], "not readable by this user"))}
	case saves:
		return []finding.Finding{finding.Warn(check, "only snapshots (save): after a restart sessions that were ended since the last one count as open until their access token ends",
			"set appendonly yes and appendfsync always, or switch persistence off (save \"\"): an empty Redis is noticed and filled again")}
	}
	return []finding.Finding{finding.Good(check, "off: after a restart it is empty, which is noticed, and filled again")}
}

func or(s, instead string) string {
	if s == "" {
		return instead
	}
	return s
}

// members asks the first server that answers for the whole Cluster, and returns those that were not looked at yet.
func (g *ward) members(ctx context.Context) (more []string, found []finding.Finding) {
	const check = "redis cluster"
	var slots []redis.ClusterSlot
	err := errors.New("no server answers")
	for _, a := range g.cfg.Addrs {
		if slots, err = g.client(a).ClusterSlots(ctx).Result(); err == nil { //nolint:staticcheck // what replaces it came with Redis 7.0
			break
		}
	}
	if err != nil {
		return nil, []finding.Finding{finding.Bad(check, "cannot be asked: "+finding.Text(err), "see the servers below")}
	}
	covered, masters := 0, 0
	for _, s := range slots {
		covered += s.End - s.Start + 1
		for n, node := range s.Nodes {
			if !slices.Contains(g.cfg.Addrs, node.Addr) && !slices.Contains(more, node.Addr) {
				more = append(more, node.Addr)
			}
			if n == 0 {
				masters++
			}
		}
	}
	if covered < allSlots {
		return more, []finding.Finding{finding.Bad(check, fmt.Sprintf("only %d of %d slots are served", covered, allSlots), "start the masters that are away; redis-cli --cluster check tells which")}
	}
	return more, []finding.Finding{finding.Good(check, "all slots are served, in %d ranges", masters)}
}

// write tries what services do: a script that writes.
func (g *ward) write(ctx context.Context) finding.Finding {
	const check = "redis writes"
	opts := *g.opts
	var db redis.UniversalClient
	if g.cfg.Cluster {
		o := opts.Cluster()
		o.DisableRoutingPolicies = true
		db = redis.NewClusterClient(o)
	} else {
		db = redis.NewClient(opts.Simple())
	}
	defer db.Close()
	began := time.Now()
	err := db.Eval(ctx, writeScript, []string{g.cfg.Prefix + ":doctor"}).Err()
	took := finding.Round(time.Since(began))
	if err == nil {
		return finding.Good(check, "a script wrote a key in %s", took)
	}
	switch text := finding.Text(err); {
	case strings.HasPrefix(text, "NOPERM"):
		return finding.Bad(check, "forbidden to this user: "+text, "give the user the rights that docs/reference/redis.md names")
	case strings.HasPrefix(text, "OOM"):
		return finding.Bad(check, "its memory is full", "raise maxmemory, or add masters to the Cluster")
	case strings.HasPrefix(text, "READONLY"):
		return finding.Bad(check, "it is a replica", "name the master in redis.addrs")
	case strings.HasPrefix(text, "MISCONF"):
		return finding.Bad(check, "it cannot write its file and refuses all writes", "look at its log and make room on its disk")
	case strings.HasPrefix(text, "CLUSTERDOWN"):
		return finding.Bad(check, "the Cluster is down", "start the masters that are away; redis-cli --cluster check tells which")
	default:
		return finding.Bad(check, "fail: "+text, "see the servers above")
	}
}
