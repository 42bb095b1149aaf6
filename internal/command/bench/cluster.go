package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// clusterName is the file that tools/cluster writes into its directory.
const clusterName = "cluster.json"

// cluster is what that file says: where a cluster on this machine serves clients, and which processes it is made of. Its
// words are those of tools/cluster/local; members that are not known are passed over.
type cluster struct {
	URL      string   `json:"url"`
	HTTP     []string `json:"http"`
	WS       []string `json:"ws"`
	Mongo    string   `json:"mongo"` // standIn, or another word
	Replicas int      `json:"replicas"`
	Sync     string   `json:"sync"`

	Processes []process `json:"processes"`

	dir       string // of the file
	strangers int    // long connections that were there before ours
}

// standIn marks a MongoDB that is none: its figures say nothing about a real one.
const standIn = "stand-in"

// process is one whose use of CPU and memory is measured.
type process struct {
	Name    string   `json:"name"`
	Targets []string `json:"targets"` // none: a part, such as NATS
	PID     int      `json:"pid"`
	Ops     string   `json:"ops"` // host:port; none: no metrics
}

// instance is what names end in where there are several of a kind.
var instance = regexp.MustCompile(`-\d+$`)

// part is what the process counts as: its targets, or the kind of part.
func (p process) part() string {
	if len(p.Targets) > 0 {
		return strings.Join(p.Targets, "+")
	}
	return instance.ReplaceAllString(p.Name, "")
}

// readCluster reads a file, or that of a directory.
func readCluster(path string) (*cluster, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, clusterName)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's description, which is there while it runs: %w", err)
	}
	c := &cluster{dir: filepath.Dir(path)}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func (c *cluster) check() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(len(c.HTTP) > 0, "http: no api-gateway")
	want(len(c.WS) > 0, "ws: no ws-gateway")
	for _, list := range [][]string{c.HTTP, c.WS} {
		for _, at := range list {
			u, err := url.Parse(at)
			want(err == nil && u.Host != "", "%q is no URL", at)
		}
	}
	want(len(c.Processes) > 0, "processes: none")
	ids := map[int]bool{}
	for _, p := range c.Processes {
		want(p.Name != "" && p.PID > 0 && !ids[p.PID], "processes: %q has the id %d; want a name and an id of its own", p.Name, p.PID)
		ids[p.PID] = true
	}
	return errors.Join(errs...)
}

// look fails if a process does not run, and notes who else is connected.
func (c *cluster) look() error {
	p := place{cluster: c}
	if _, err := p.watched().each(); err != nil {
		return err
	}
	var err error
	c.strangers, err = p.connections()
	return err
}

// doors is where clients of the cluster go.
func (c *cluster) doors() doors { return doors{http: c.HTTP, sockets: c.WS} }

// String says what the cluster is.
func (c *cluster) String() string {
	return fmt.Sprintf("cluster of %d processes, streams R%d, MongoDB: %s; client and cluster on the same cores, loopback, no load balancer",
		len(c.Processes), c.Replicas, c.Mongo)
}

// doors are the addresses of a server, or of a cluster's gateways, which are taken in turn.
type doors struct {
	http    []string // http://host:port
	sockets []string // ws://host:port/ws
}

// doorsOf returns those of a server at one address.
func doorsOf(base string) doors {
	return doors{http: []string{base}, sockets: []string{"ws" + strings.TrimPrefix(base, "http") + "/ws"}}
}

// rest is where client i asks over HTTP.
func (d doors) rest(i int) string { return d.http[i%len(d.http)] }

// socket is where client i opens its long connection.
func (d doors) socket(i int) string { return d.sockets[i%len(d.sockets)] }
