package system

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// clusterMode is the variable that makes every server of these tests a cluster: NATS with three servers, Redis, the
// stand-in for MongoDB, and each target as a process of its own. Else a server is one process.
const clusterMode = "OCEANCHAT_TEST_CLUSTER"

// parts are what the clusters of a run share; nil: every server is one process.
var parts *local.Parts

// oneProcessOnly are the tests that make no sense in a cluster, by what they are about: the data directory, its lock and
// its disk; tools that start or fill a server of their own; certificates of the operations port; and
// the exact counts that one operations port shows, which in a cluster are spread over instances and partitions.
const oneProcessOnly = "^(TestFullDisk|TestLogLost|TestRecoverLostLog|TestChangePartitions|TestBackupPutBack|TestGroupPutBack|TestBench|TestBenchElsewhere|TestBenchUnbalanced|TestBenchAgainstFake|TestBenchEnds|TestDoorsNewCertificate|TestMetricsOfOneMessage)$"

// clusterOnly are the tests that need parts.
const clusterOnly = "^(TestBenchCluster|TestDatabaseAway|TestRedisComesBackEmpty)$"

// withoutCluster leaves out what needs parts, where every server is one process.
func withoutCluster() error { return flag.Set("test.skip", clusterOnly) }

// startParts starts what clusters share and leaves out what is of one process only.
func startParts(dir string) (stop func(), err error) {
	if err := flag.Set("test.skip", oneProcessOnly); err != nil {
		return nil, err
	}
	parts, err = local.StartParts(context.Background(), local.Options{Dir: filepath.Join(dir, "cluster"), Binary: binary, Tenants: 100})
	if err != nil {
		return nil, err
	}
	return func() {
		if err := parts.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}, nil
}

// twice are the targets of which a cluster of the tests has two instances, which find out what holds for one only.
var twice = []string{"router", "user", "group", "message", "orchestrator", "pusher-realtime", "query"}

// upCluster starts every target, or starts them again with the addresses they had. The gateways share a process, so that
// REST and WebSocket have one address without a load balancer, and TLS reaches the server.
func (s *server) upCluster() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if s.services == nil {
		o := local.ServiceOptions{
			Groups: [][]string{{"api-gateway", "ws-gateway"}}, Instances: map[string]int{}, Direct: true,
			Args: append([]string{"--log-partitions", "2", "--api-gateway-rate-limit", "0", "--router-rate-limit", "0"}, s.flags...),
		}
		for _, t := range local.Targets() {
			if t != "api-gateway" && t != "ws-gateway" {
				o.Groups = append(o.Groups, []string{t})
			}
			o.Instances[t] = 1
			if slices.Contains(twice, t) {
				o.Instances[t] = 2
			}
		}
		services, err := parts.Start(ctx, o)
		if err != nil {
			s.t.Fatal(err)
		}
		s.services = services
	} else {
		for _, p := range s.services.Processes() {
			if err := p.Start(); err != nil {
				s.t.Fatal(err)
			}
		}
		for _, p := range s.services.Processes() {
			if err := p.Ready(ctx); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	door := s.services.Of("api-gateway")[0]
	s.base, s.ops, s.tcp = "http://"+door.HTTP, "http://"+door.Ops, door.TCP
	if s.tls != nil {
		s.base = "https://" + door.HTTP
	}
}

// opsOfAll lists the operations ports of all processes.
func (s *server) opsOfAll() []string {
	if s.services == nil {
		return []string{s.ops}
	}
	var all []string
	for _, p := range s.services.Processes() {
		all = append(all, "http://"+p.Ops)
	}
	return all
}

// killCluster ends all processes as the kernel does, at once.
func (s *server) killCluster() {
	var wg sync.WaitGroup
	for _, p := range s.services.Processes() {
		wg.Go(p.Kill)
	}
	wg.Wait()
}

// stopCluster ends all processes in order and returns the first exit code that is not 0.
func (s *server) stopCluster() int {
	s.t.Helper()
	code := 0
	for _, target := range local.Targets() { // from the doors inwards
		for _, p := range s.services.Of(target) {
			c, err := p.Terminate()
			if err != nil {
				s.t.Fatal(err)
			}
			if c != 0 && code == 0 {
				code = c
				s.t.Logf("%s ended with code %d:\n%s", p.Name, c, p.Tail(2000))
			}
		}
	}
	return code
}

// output is what all processes have printed.
func (s *server) output() string {
	if s.services == nil {
		return s.log.String()
	}
	var b strings.Builder
	for _, p := range s.services.Processes() {
		text, err := os.ReadFile(p.Log)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Error(err)
		}
		b.Write(text)
	}
	return b.String()
}

// setting returns what the processes of a cluster were told by a variable.
func (s *server) setting(name string) string {
	for _, v := range s.services.Settings {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	s.t.Fatalf("the processes have no setting %s", name)
	return ""
}

// oneProcess tells whether servers are one process, for what can be seen from outside in one mode only.
func oneProcess(*testing.T) bool { return parts == nil }
