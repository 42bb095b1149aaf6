// Command cluster runs a whole OceanChat cluster on this machine until it is stopped: three NATS servers, Redis, the
// stand-in for MongoDB and every service as its own process, two of each. It is for developers and figures, not for
// production. Its directory tells others of it: "env" are the settings that reach it, with passwords, for a command or one
// more instance; "cluster.json", there while it runs, are its addresses and processes, for "oceanchat bench --cluster".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// flags are the command line.
type flags struct {
	local.Options
	replicas, instances int
	fresh               bool
	http, tcp           string
	settings            []string
	apart               []string
}

func parse(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet("cluster", flag.ContinueOnError)
	set.StringVar(&f.Dir, "dir", "./oceanchat-cluster", "where everything is kept")
	set.StringVar(&f.Binary, "binary", "", "the oceanchat binary; built if empty")
	set.StringVar(&f.Mongo, "mongo", "", "URI of a MongoDB without a database's name; the stand-in if empty")
	set.StringVar(&f.Sync, "sync", "always", "always: NATS writes through to the disk; interval: every two minutes")
	set.IntVar(&f.replicas, "replicas", 3, "copies of each stream, 1 or 3, and as many NATS servers")
	set.IntVar(&f.instances, "instances", 2, "processes of each target")
	set.IntVar(&f.FirstPort, "first-port", 14000, "where the ports of all processes begin; 0: any that are free")
	set.StringVar(&f.http, "http", "127.0.0.1:8080", "address for REST and WebSocket")
	set.StringVar(&f.tcp, "tcp", "127.0.0.1:8090", "address for TCP connections")
	apart := set.String("apart", "", "targets that are processes of their own, with commas; all others are one process; by default each target is by itself")
	set.BoolVar(&f.fresh, "fresh", false, "begin without data; with the stand-in, which forgets, every start does")
	set.Func("env", "a setting of all services, OCEANCHAT_NAME=value; may be given again", func(s string) error {
		if !strings.HasPrefix(s, "OCEANCHAT_") || !strings.Contains(s, "=") {
			return errors.New("want OCEANCHAT_NAME=value")
		}
		f.settings = append(f.settings, s)
		return nil
	})
	if err := set.Parse(args); err != nil {
		return f, err
	}
	f.apart = strings.FieldsFunc(*apart, func(r rune) bool { return r == ',' })
	switch {
	case set.NArg() > 0:
		return f, fmt.Errorf("unexpected argument %q", set.Arg(0))
	case f.fresh && f.Mongo != "":
		return f, errors.New("--fresh: a MongoDB of yours is not emptied here: drop its database and delete the directory")
	case f.instances < 1:
		return f, errors.New("--instances: want at least 1")
	}
	f.Servers, f.Tenants, f.Keep = f.replicas, 1, f.Mongo != ""
	return f, nil
}

// groups returns the targets of each process: those apart, and the others together; nil for none apart.
func groups(apart []string) [][]string {
	if len(apart) == 0 {
		return nil
	}
	var all [][]string
	var others []string
	for _, target := range apart {
		all = append(all, []string{target})
	}
	for _, target := range local.Targets() {
		if !slices.Contains(apart, target) {
			others = append(others, target)
		}
	}
	if len(others) > 0 {
		all = append(all, others)
	}
	return all
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f, err := parse(args)
	if err != nil {
		return err
	}
	f.Log = out
	services := local.ServiceOptions{Instances: map[string]int{}, HTTP: f.http, TCP: f.tcp, Env: f.settings}
	for _, target := range local.Targets() {
		services.Instances[target] = f.instances
	}
	services.Groups = groups(f.apart)
	if n := len(services.Groups); n > len(f.apart) {
		services.Instances[services.Groups[n-1][0]] = 1
	}
	c, err := local.Start(ctx, f.Options, services)
	if err != nil {
		return err
	}
	c.Settings = append(c.Settings, f.settings...)
	err = show(out, f.Dir, c)
	if err == nil {
		watch(ctx, out, f.Dir, c)
	}
	_ = os.Remove(filepath.Join(f.Dir, description)) // if it was written: nothing of it is true any more
	_, _ = fmt.Fprintln(out, "stopping")
	return errors.Join(err, c.Stop())
}

// description is the file for programs that measure the cluster; it is there while this runs.
const description = "cluster.json"

// watch tells of processes that end, until ctx does.
func watch(ctx context.Context, out io.Writer, dir string, c *local.Cluster) {
	var wg sync.WaitGroup
	for _, p := range c.Processes() {
		wg.Go(func() {
			code, err := p.Wait(ctx)
			if err != nil {
				return
			}
			_, _ = fmt.Fprint(out, obituary(p.Name, code, p.Log, again(dir, p, slices.Contains(c.Parts.NATS, p))))
			if code <= 0 { // somebody wanted it so: told now, and no fault when the cluster stops
				p.Kill()
			}
		})
	}
	wg.Wait()
	<-ctx.Done()
}

// obituary tells how a process ended, and how to start it again, if that is known.
func obituary(name string, code int, log, again string) string {
	how := fmt.Sprintf("ended with code %d", code)
	if code < 0 {
		how = "was killed"
	}
	text := fmt.Sprintf("%s %s; its log is %s\n", name, how, log)
	if again != "" {
		text += "start it again by: " + again + "\nCtrl-C in its own terminal ends that one, not Ctrl-C here\n"
	}
	return text
}

// again is the command that starts a process with its own settings, "" for a part that would lack its data.
func again(dir string, p *local.Process, isNATS bool) string {
	switch {
	case len(p.Targets) > 0:
		return fmt.Sprintf("env $(cat %s) %s", filepath.Join(dir, "processes", p.Name+".env"), p.Command())
	case isNATS:
		return p.Command()
	}
	return ""
}

// show prints the addresses, and writes the settings and the processes into files.
func show(out io.Writer, dir string, c *local.Cluster) error {
	settings, processes := filepath.Join(dir, "env"), filepath.Join(dir, description)
	if err := c.Describe(processes); err != nil {
		return err
	}
	if err := os.WriteFile(settings, []byte(strings.Join(c.Settings, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	each := filepath.Join(dir, "processes")
	if err := c.WriteSettings(each); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	p("\nOceanChat runs as %d processes.\n", len(c.Processes()))
	p("API and its description\t%s/docs", c.URL)
	p("WebSocket\t%s/ws", strings.Replace(c.URL, "http", "ws", 1))
	p("TCP\t%s", c.TCP)
	p("NATS\t%s", strings.Join(c.Parts.NATSURLs(), ","))
	p("Redis\t%s", c.Parts.Redis.Addr)
	if c.Parts.Mongo != nil {
		p("MongoDB (stand-in)\tmongodb://%s", c.Parts.Mongo.Addr)
	}
	p("Logs\t%s", filepath.Join(c.Dir, "logs"))
	p("Settings with passwords\t%s, of each process %s", settings, filepath.Join(each, "NAME.env"))
	p("For oceanchat bench --cluster\t%s", processes)
	p("\nprocess\tpid\thealth and metrics\tgRPC\tclients")
	for _, one := range c.Services.Processes() {
		p("%s\t%d\thttp://%s\t%s\t%s", one.Name, one.PID(), one.Ops, one.GRPC, strings.Join(clients(one), " "))
	}
	p("\nStop it with Ctrl-C.\n")
	return w.Flush()
}

// clients lists where a process serves clients.
func clients(p *local.Process) []string {
	var list []string
	for _, c := range []struct{ scheme, addr string }{{"http", p.HTTP}, {"ws", p.WS}, {"tcp", p.TCP}} {
		if c.addr != "" {
			list = append(list, c.scheme+"://"+c.addr)
		}
	}
	return list
}
