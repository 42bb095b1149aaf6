package bench

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options is what the command line asks for.
type options struct {
	scenarios []string
	addr      string // "": a server of our own, or a cluster
	wire      codec
	syncs     []string
	json      bool
	progress  bool
	dir       string
	profile   string
	limit     time.Duration
	server    []string // more settings for our own servers

	accountsFile string
	clusterFile  string // "": no cluster

	duration, warmup, settle time.Duration
	pairCount                int
	rates                    []int
	groups, groupSize        int
	groupRates               []int
	idleConns, stormConns    int
	overloadRate, factor     int
	reads, readRate          int

	p99      time.Duration // of send→ack, where a rate counts as held
	mustHold bool
	highest  int
}

// The scenarios in the order in which they run.
var allScenarios = []string{"start", "pairs", "group", "search", "overload", "idle", "storm", "stay", "history"}

const defaultScenarios = "pairs,group,idle,storm,history"

// Bounds, beyond which a number is a slip of the hand.
const (
	maxRate       = 200_000
	maxPairs      = 20_000
	maxConns      = 100_000
	maxSlots      = 10_000_000 // deliveries that one run accounts for, 24 bytes each
	maxReads      = 1_000_000
	perGroupCall  = 1000
	minPercentile = 100 // messages behind a p99
)

const intro = `Usage: oceanchat bench [flags] [-- settings of the server]

Measures a server over its public contract and keeps the account of every message. Without --addr and --cluster it starts
a server of its own for each scenario, on a temporary directory and free ports, and removes everything at the end. With
--cluster it also tells what each service, NATS, Redis and MongoDB take of the CPU. It ends with status 0 if every account balances (and, with --must-hold, every rate was held), else with 1.

`

// parse reads the command line. flag.ErrHelp was answered already.
func parse(args []string, help io.Writer) (options, error) {
	var o options
	var scenarios, syncs, rates, groupRates, wire string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&scenarios, "scenarios", defaultScenarios, "what to measure, of "+strings.Join(allScenarios, ","))
	f.StringVar(&o.addr, "addr", "", "`URL` of a server that runs already, such as http://host:8080; needs --accounts")
	f.StringVar(&o.clusterFile, "cluster", "", "`directory` of a cluster that 'make cluster' runs on this machine, or its cluster.json; needs --accounts")
	f.StringVar(&o.accountsFile, "accounts", "", "`file` that 'oceanchat dev seed' wrote; sessions that are refreshed are written back to it")
	f.StringVar(&syncs, "log-sync", "always", "log.sync of its own servers: always, interval, or both with a comma")
	f.StringVar(&wire, "wire", "json", "subprotocol of the long connections: json or proto")
	f.StringVar(&rates, "rates", "100,1000", "pairs: messages a second, one row each")
	f.IntVar(&o.pairCount, "pairs", 50, "pairs, search, overload, history: pairs of users that write to each other")
	f.IntVar(&o.groups, "groups", 1, "group: how many")
	f.IntVar(&o.groupSize, "group-size", 1000, "group: `members` of each, all connected")
	f.StringVar(&groupRates, "group-rates", "5", "group: messages a second over all groups, one row each")
	f.IntVar(&o.overloadRate, "overload", 1000, "overload: `messages` a second that are held, offered for --settle before and after the overload of --duration")
	f.IntVar(&o.factor, "factor", 2, "overload: how many times as many are offered in between")
	f.IntVar(&o.idleConns, "idle", 2000, "idle: `connections`")
	f.IntVar(&o.stormConns, "storm", 2000, "storm: `connections` that come back at once; stay: that come back by themselves, while you break the server, for --duration")
	f.IntVar(&o.reads, "reads", 1000, "history: how many pages")
	f.IntVar(&o.readRate, "read-rate", 100, "history: pages a second")
	f.DurationVar(&o.p99, "p99", 50*time.Millisecond, "a rate is held while the p99 of send→ack is no higher")
	f.BoolVar(&o.mustHold, "must-hold", false, "end with status 1 if a rate of pairs or group was not held, or search finds none")
	f.IntVar(&o.highest, "highest", 50_000, "search: where it ends, `messages` a second")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long messages are measured")
	f.DurationVar(&o.warmup, "warmup", 2*time.Second, "how long messages run before")
	f.DurationVar(&o.settle, "settle", 35*time.Second, "idle: how long connections settle; a heartbeat is 30 s; overload: see --overload")
	f.DurationVar(&o.limit, "timeout", 20*time.Minute, "when to give up")
	f.StringVar(&o.dir, "dir", "", "`directory` for temporary data: the disk that is measured (default: the system's)")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of one more run of 1,000 messages a second to this `file`")
	f.BoolVar(&o.json, "json", false, "print JSON instead of Markdown")
	f.BoolVar(&o.progress, "progress", false, "tell what goes on, also where standard error is no terminal")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = io.WriteString(help, intro)
			f.SetOutput(help)
			f.PrintDefaults()
		}
		return o, err
	}
	o.server = f.Args()
	if n := f.NArg(); n > 0 && (n == len(args) || args[len(args)-n-1] != "--") {
		return o, fmt.Errorf("unexpected word %q (settings of the server stand behind --)", f.Arg(0))
	}
	o.scenarios, o.syncs = list(scenarios), list(syncs)
	var errs [2]error
	o.rates, errs[0] = numbers("--rates", rates)
	o.groupRates, errs[1] = numbers("--group-rates", groupRates)
	o.addr = strings.TrimSuffix(o.addr, "/")
	o.wire = codecs[wire]
	if err := errors.Join(append(errs[:], o.check(wire))...); err != nil {
		return o, err
	}
	// In the order in which they make sense, whatever the order they were named in.
	o.scenarios = slices.DeleteFunc(slices.Clone(allScenarios), func(s string) bool { return !slices.Contains(o.scenarios, s) })
	return o, nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func numbers(name, s string) ([]int, error) {
	var out []int
	for _, word := range list(s) {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > maxRate {
			return nil, fmt.Errorf("%s %s: want numbers from 1 to %d", name, s, maxRate)
		}
		out = append(out, n)
	}
	return out, nil
}

// own tells whether the servers are our own.
func (o *options) own() bool { return o.addr == "" && o.clusterFile == "" }

// users is how many accounts the scenarios need.
func (o *options) users() int {
	n := 1
	for _, s := range o.scenarios {
		n = max(n, map[string]int{
			"pairs": 2 * o.pairCount, "search": 2 * o.pairCount, "overload": 2 * o.pairCount, "history": 2 * o.pairCount,
			"group": o.groups * o.groupSize, "idle": o.idleConns, "storm": o.stormConns, "stay": o.stormConns,
		}[s])
	}
	if o.profile != "" || slices.Contains(o.scenarios, "start") {
		n = max(n, 2*o.pairCount)
	}
	return n
}

// connections is how many are open at a time.
func (o *options) connections() int { return o.users() }

// check joins all that is wrong.
func (o *options) check(wire string) error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, s := range o.scenarios {
		want(slices.Contains(allScenarios, s), "--scenarios: %q is none of %s", s, strings.Join(allScenarios, ", "))
	}
	want(len(o.scenarios) > 0 || o.profile != "", "--scenarios: name at least one of %s", strings.Join(allScenarios, ", "))
	for _, s := range o.syncs {
		want(s == "always" || s == "interval", "--log-sync: %q is neither always nor interval", s)
	}
	want(len(o.syncs) > 0, "--log-sync: want always or interval")
	want(o.wire != nil, "--wire: %q is neither json nor proto", wire)
	o.checkAddr(want)
	o.checkCounts(want)
	want(o.duration >= time.Second && o.duration <= 10*time.Minute, "--duration %v: want 1s to 10m", o.duration)
	want(o.warmup >= 0 && o.warmup <= time.Minute, "--warmup %v: want 0s to 1m", o.warmup)
	want(o.settle >= time.Second && o.settle <= 10*time.Minute, "--settle %v: want 1s to 10m", o.settle)
	want(o.limit >= time.Second && o.limit <= 24*time.Hour, "--timeout %v: want 1s to 24h", o.limit)
	want(o.p99 >= time.Millisecond && o.p99 <= time.Minute, "--p99 %v: want 1ms to 1m", o.p99)
	return errors.Join(errs...)
}

func (o *options) checkAddr(want func(ok bool, format string, args ...any)) {
	where := "--addr"
	if o.clusterFile != "" {
		where = "--cluster"
	}
	want(o.own() == (o.accountsFile == ""), "%s and --accounts belong together", where)
	want(o.addr == "" || o.clusterFile == "", "--addr and --cluster: want one of them")
	if o.own() {
		return
	}
	if o.addr != "" {
		u, err := url.Parse(o.addr)
		want(err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "",
			"--addr %s: want http://host:port", o.addr)
	}
	const without = "without --addr and --cluster"
	want(len(o.server) == 0, "settings of the server (%s) are for a server of bench's own, %s", strings.Join(o.server, " "), without)
	want(!slices.Contains(o.scenarios, "start"), "--scenarios start needs a server of bench's own, %s", without)
	want(o.profile == "", "--profile needs a server of bench's own, %s", without)
}

func (o *options) checkCounts(want func(ok bool, format string, args ...any)) {
	seconds := (o.duration + o.warmup).Seconds()
	fits := func(name string, rate, members int) {
		want(seconds*float64(rate)*float64(members) <= maxSlots, "%s %d for %v to %d: more than %d deliveries to account for; make it shorter",
			name, rate, o.duration+o.warmup, members, maxSlots)
	}
	for _, r := range o.rates {
		fits("--rates", r, 2)
	}
	for _, r := range o.groupRates {
		fits("--group-rates", r, o.groupSize)
	}
	if slices.Contains(o.scenarios, "search") {
		fits("--highest", o.highest, 2)
	}
	want(o.overloadRate >= 1 && o.factor >= 1 && o.overloadRate*o.factor <= maxRate, "--overload %d, --factor %d: want at least 1 and at most %d in all",
		o.overloadRate, o.factor, maxRate)
	if slices.Contains(o.scenarios, "overload") {
		all := 2 * float64(o.overloadRate) * (2*o.settle.Seconds() + float64(o.factor)*o.duration.Seconds())
		want(all <= maxSlots, "--overload %d: %.0f deliveries to account for, more than %d; make it shorter", o.overloadRate, all, maxSlots)
	}
	want(len(o.rates) > 0, "--rates: want a number")
	want(len(o.groupRates) > 0, "--group-rates: want a number")
	want(o.pairCount >= 1 && o.pairCount <= maxPairs, "--pairs %d: want 1 to %d", o.pairCount, maxPairs)
	want(o.groups >= 1 && o.groupSize >= 2 && o.groups*o.groupSize <= maxConns, "--groups %d, --group-size %d: want at least 1 of 2 and at most %d members in all",
		o.groups, o.groupSize, maxConns)
	want(o.idleConns >= 1 && o.idleConns <= maxConns, "--idle %d: want 1 to %d", o.idleConns, maxConns)
	want(o.stormConns >= 1 && o.stormConns <= maxConns, "--storm %d: want 1 to %d", o.stormConns, maxConns)
	want(o.reads >= 1 && o.reads <= maxReads, "--reads %d: want 1 to %d", o.reads, maxReads)
	want(o.readRate >= 1 && o.readRate <= maxRate, "--read-rate %d: want 1 to %d", o.readRate, maxRate)
	want(o.highest >= searchFrom && o.highest <= maxRate, "--highest %d: want %d to %d", o.highest, searchFrom, maxRate)
}
