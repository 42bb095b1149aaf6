package doctor_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/command/doctor"
	"github.com/oceanchat/oceanchat/internal/finding"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
)

// ask runs the command on a plan.
func ask(t *testing.T, plan doctor.Plan, args ...string) (code int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	open := func([]string, []string) (doctor.Plan, error) { return plan, nil }
	code = doctor.Command(open)(t.Context(), command.Call{Args: args, Out: &stdout, Err: &stderr})
	if stderr.Len() > 0 {
		t.Errorf("standard error: %s", stderr.String())
	}
	return code, stdout.String()
}

func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// pair writes a certificate that ends after left.
func pair(t *testing.T, left time.Duration) doctor.Files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(left)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := doctor.Files{Setting: "http.tls", Cert: filepath.Join(dir, "crt"), Key: filepath.Join(dir, "key"), CA: filepath.Join(dir, "crt")}
	for path, b := range map[string]*pem.Block{f.Cert: {Type: "CERTIFICATE", Bytes: der}, f.Key: {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestCommand(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	here := listen(t)
	_, port, _ := net.SplitHostPort(here)
	answer := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	tests := []struct {
		name string
		plan doctor.Plan
		args []string
		want string // in a line
		code int
	}{
		{"limits", doctor.Plan{}, nil, "open files: at most ", command.OK},
		{"data directory", doctor.Plan{Embedded: &doctor.Embedded{DataDir: t.TempDir()}}, nil, ": can be written\n", command.OK},
		{"data directory to be made", doctor.Plan{Embedded: &doctor.Embedded{DataDir: t.TempDir() + "/a/b"}}, nil, "/a/b: is not there yet, and can be made\n", command.OK},
		{"speed of the disk", doctor.Plan{Embedded: &doctor.Embedded{DataDir: t.TempDir()}}, nil, "data_dir sync: a write reaches the disk in ", command.OK},
		{"data directory is a file", doctor.Plan{Embedded: &doctor.Embedded{DataDir: file}}, nil, "problem  data_dir: " + file + " is no directory -> correct data_dir\n", command.Failed},
		{"certificate", doctor.Plan{Files: []doctor.Files{pair(t, 90*day)}}, nil, "valid until", command.OK},
		{"certificate that ends soon", doctor.Plan{Files: []doctor.Files{pair(t, 13*day)}}, nil, "expires on", command.OK},
		{"certificate that ended", doctor.Plan{Files: []doctor.Files{pair(t, -time.Minute)}}, nil, "expired on", command.Failed},
		{"certificate that is not there", doctor.Plan{Files: []doctor.Files{{Setting: "http.tls", Cert: "/nowhere", Key: "/nowhere"}}}, nil, "problem  http.tls: the certificate cannot be used: open /nowhere", command.Failed},
		{"CA that is none", doctor.Plan{Files: []doctor.Files{{Setting: "http.tls", CA: file}}}, nil, "no certificate in it", command.Failed},
		{"service", doctor.Plan{Peers: []doctor.Peer{{Target: "auth", Addrs: []string{here}}}}, nil, "ok       service auth: 1 instance, which take connections\n", command.OK},
		{"service by name", doctor.Plan{Peers: []doctor.Peer{{Target: "auth", Addrs: []string{"dns:///127.0.0.1:" + port}, Ask: answer(nil)}}}, nil, "service auth: 1 instance, and it serves\n", command.OK},
		{"service that does not serve", doctor.Plan{Peers: []doctor.Peer{{Target: "auth", Addrs: []string{here}, Ask: answer(errors.New("NOT_SERVING"))}}}, nil, "does not serve: NOT_SERVING -> ", command.Failed},
		{"an instance is away", doctor.Plan{Peers: []doctor.Peer{{Target: "auth", Addrs: []string{here, "127.0.0.1:1"}}}}, nil, "warning  service auth: 1 of 2 instances take no connection", command.OK},
		{"service is away", doctor.Plan{Peers: []doctor.Peer{{Target: "auth", Addrs: []string{"127.0.0.1:1"}}}}, nil, "problem  service auth: takes no connection: ", command.Failed},
		{"service without address", doctor.Plan{Peers: []doctor.Peer{{Target: "auth"}}}, nil, "is not found: no address is set", command.Failed},
		{"services left out", doctor.Plan{Peers: []doctor.Peer{{Target: "auth"}}}, []string{"--no-peers"}, "open files", command.OK},
		{"help", doctor.Plan{}, []string{"--help"}, "Usage:", command.OK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, out := ask(t, tt.plan, tt.args...)
			if code != tt.code || !strings.Contains(out, tt.want) {
				t.Errorf("doctor %q = %d:\n%swant %d and %q", tt.args, code, out, tt.code, tt.want)
			}
			if tt.plan.Embedded != nil && tt.code == command.OK {
				if left, _ := filepath.Glob(filepath.Join(tt.plan.Embedded.DataDir, ".doctor*")); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			}
		})
	}
}

func TestPeersOf(t *testing.T) {
	t.Parallel()
	got := doctor.PeersOf([]string{"auth", "user"}, "dns:///oceanchat-{target}:7070", []string{"auth=a:1", "group=g:1", "auth=b:1"})
	want := []doctor.Peer{{Target: "auth", Addrs: []string{"a:1", "b:1"}}, {Target: "user", Addrs: []string{"dns:///oceanchat-user:7070"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("PeersOf (-want +got):\n%s", diff)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	open := func(args, env []string) (doctor.Plan, error) {
		if diff := cmp.Diff([]string{"auth", "--nats-replicas=1"}, args); diff != "" {
			t.Errorf("settings (-want +got):\n%s", diff)
		}
		return doctor.Plan{}, errors.New("unknown target")
	}
	call := command.Call{Args: []string{"auth", "--json", "--nats-replicas=1", "--no-peers"}, Out: &stdout, Err: &stderr}
	if code := doctor.Command(open)(t.Context(), call); code != command.Usage || !strings.Contains(stderr.String(), "unknown target") || stdout.Len() > 0 {
		t.Errorf("doctor = %d, %q, %q; want %d and the error", code, stdout.String(), stderr.String(), command.Usage)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	code, out := ask(t, doctor.Plan{Targets: []string{"auth"}, Peers: []doctor.Peer{{Target: "user"}}}, "--json")
	var got struct {
		Targets  []string
		Problems int
		Findings []finding.Finding
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	want := finding.Finding{Level: finding.Problem, Check: "service user", Found: "is not found: no address is set", Do: "start it, or correct grpc.peers or grpc.addrs; --no-peers leaves this out"}
	if code != command.Failed || got.Problems != 1 || len(got.Targets) != 1 || !slices.Contains(got.Findings, want) {
		t.Errorf("doctor --json = %d: %s; want one problem %+v", code, out, want)
	}
}

// No secret of the settings is shown, not even when another server tells it.
func TestSecrets(t *testing.T) {
	t.Parallel()
	plan := doctor.Plan{
		NATS: &jetstream.Diagnosis{
			Servers: jetstream.Servers{URLs: []string{"nats://u:secret-1@127.0.0.1:1", "secret-2@127.0.0.1:1"}, User: "u", Password: "secret-3"}, Config: jetstream.Config{Partitions: 1},
			Monitors: []string{"http://u:secret-4@127.0.0.1:1"}, SystemPassword: "secret-5",
		},
		Redis: &redis.Config{Addrs: []string{"127.0.0.1:1"}, Password: "secret-6", Prefix: "oc"},
		Mongo: &mongo.Config{URI: "mongodb://u:secret-7@127.0.0.1:1/?connectTimeoutMS=100"},
		Peers: []doctor.Peer{{Target: "auth", Addrs: []string{listen(t)}, Ask: func(context.Context) error {
			return errors.New("secret-1 secret-2 secret-3 secret-4 secret-5 secret-6 secret-7 \x1b[31m")
		}}},
	}
	code, out := ask(t, plan)
	if code != command.Failed || strings.Contains(out, "secret-") || strings.Contains(out, "\x1b") || !strings.Contains(out, "*** *** *** *** *** *** ***") {
		t.Errorf("doctor = %d:\n%s", code, out)
	}
	for _, check := range []string{"problem  nats 127.0.0.1:1: ", "problem  nats monitor 127.0.0.1:1: ", "problem  redis 127.0.0.1:1: ", "problem  mongodb 127.0.0.1:1: "} {
		if !strings.Contains(out, check) {
			t.Errorf("no line %q in:\n%s", check, out)
		}
	}
}

func TestHanging(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer close(end)
		got := doctor.Run(t.Context(), 5*time.Second, func(context.Context) []finding.Finding { <-end; return nil })
		if len(got) != 1 || got[0].Level != finding.Problem || got[0].Found != "the check did not end within 5s" {
			t.Errorf("run = %+v; want a problem", got)
		}
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	if got := doctor.Limits(math.MaxInt32); len(got) != 1 || got[0].Level != finding.Warning {
		t.Errorf("limits(2^31) = %+v; want a warning", got)
	}
}

func TestSpeed(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	tests := []struct {
		name string
		e    doctor.Embedded
		took []time.Duration
		want finding.Level
	}{
		{"fast", doctor.Embedded{SyncAlways: true}, []time.Duration{ms, ms, 90 * ms}, finding.OK},
		{"slow", doctor.Embedded{SyncAlways: true}, []time.Duration{ms, 11 * ms, 90 * ms}, finding.Warning},
		{"slow, and nobody waits", doctor.Embedded{}, []time.Duration{90 * ms}, finding.OK},
	}
	for _, tt := range tests {
		if got := doctor.Speed(tt.e, tt.took...); got.Level != tt.want {
			t.Errorf("%s: speed = %+v; want %s", tt.name, got, tt.want)
		}
	}
}
