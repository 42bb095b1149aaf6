package deploy_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/app"
	"github.com/oceanchat/oceanchat/internal/command"
)

const composeDir = root + "/deploy/compose"

var emptyVariable = regexp.MustCompile(`(?m)^([A-Z_]+)=$`)

// blanks are the variables that an operator fills in.
func blanks(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(composeDir, "env.example"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range emptyVariable.FindAllStringSubmatch(string(text), -1) {
		names = append(names, m[1])
	}
	return names
}

// load reads the Compose file as Compose does, with each blank filled in but one.
func load(t *testing.T, but string) (*types.Project, error) {
	t.Helper()
	var env []string
	for _, name := range blanks(t) {
		if name != but {
			env = append(env, name+"=filled-in")
		}
	}
	opts, err := cli.NewProjectOptions([]string{filepath.Join(composeDir, "compose.yaml")}, cli.WithEnv(env), cli.WithInterpolation(true),
		cli.WithResolvedPaths(true), cli.WithConsistency(true))
	if err != nil {
		t.Fatal(err)
	}
	return opts.LoadProject(context.Background())
}

// Two of every target, each looked after, stopped gently, and with settings that this binary has.
func TestCompose(t *testing.T) {
	t.Parallel()
	project, err := load(t, "")
	if err != nil {
		t.Fatalf("Compose does not read the file: %v", err)
	}
	for _, target := range app.Targets() {
		t.Run(target, func(t *testing.T) {
			s, err := project.GetService(target)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(s.Command, []string{target}) || s.Deploy == nil || s.Deploy.Replicas == nil || *s.Deploy.Replicas < 2 {
				t.Errorf("command %q, deploy %+v; want the target, twice", s.Command, s.Deploy)
			}
			env := map[string]string{}
			for name, value := range s.Environment {
				env[name] = *value
			}
			if env["OCEANCHAT_NATS_USER"] != target || env["OCEANCHAT_NATS_PASSWORD"] == "" {
				t.Errorf("NATS user %q; want %s with its password", env["OCEANCHAT_NATS_USER"], target)
			}
			if s.HealthCheck == nil || !strings.HasSuffix(strings.Join(s.HealthCheck.Test, " "), env["OCEANCHAT_OPS_ADDR"]+"/readyz") {
				t.Errorf("health check %+v; want /readyz of the ops port", s.HealthCheck)
			}
			drain, err := time.ParseDuration(env["OCEANCHAT_DRAIN_TIMEOUT"])
			if err != nil || s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) <= drain {
				t.Errorf("stop_grace_period %v with a drain.timeout of %v, %v; want more", s.StopGracePeriod, drain, err)
			}
			if s.Deploy.Resources.Limits == nil || s.Deploy.Resources.Reservations == nil {
				t.Error("no limits and reservations")
			}
			checkMemory(t, target, env["GOMEMLIMIT"], fmt.Sprint(int64(s.Deploy.Resources.Limits.MemoryBytes)))
			if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.Ports) > 0 || s.Privileged {
				t.Error("the container may more than it needs")
			}
			if u := s.Ulimits["nofile"]; target == "ws-gateway" && (u == nil || u.Single < 1_000_000) {
				t.Errorf("ulimits %v; want a file for each of many connections", u)
			}
			checkSettings(t, env)
		})
	}
}

// checkSettings has the product itself check an environment.
func checkSettings(t *testing.T, env map[string]string) {
	t.Helper()
	var list []string
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	var out, problems bytes.Buffer
	code := app.Main(t.Context(), command.Call{Args: []string{"config", "check"}, Env: strings.Split(withFiles(t, strings.Join(list, "\n")), "\n"), Out: &out, Err: &problems})
	if code != command.OK || problems.Len() > 0 {
		t.Errorf("oceanchat config check = %d, %s%s; want it valid, without a warning", code, problems.String(), out.String())
	}
}

// A setting that does not exist is found by checkSettings' way: the test of the test.
func TestCheckSettingsFindsUnknown(t *testing.T) {
	t.Parallel()
	var problems bytes.Buffer
	app.Main(t.Context(), command.Call{Args: []string{"config", "check"}, Env: []string{"OCEANCHAT_NO_SUCH=1"}, Out: &bytes.Buffer{}, Err: &problems})
	if !strings.Contains(problems.String(), "OCEANCHAT_NO_SUCH") {
		t.Errorf("config check says %q; want a warning of OCEANCHAT_NO_SUCH", problems.String())
	}
}

// Nothing secret has a default: without any one of them Compose refuses.
func TestComposeHasNoDefaultSecrets(t *testing.T) {
	t.Parallel()
	names := blanks(t)
	for user, variable := range users(t) {
		if !slices.Contains(names, strings.TrimPrefix(variable, "OC_")) {
			t.Errorf("env.example has no password of the NATS user %s", user)
		}
	}
	for _, name := range names {
		if _, err := load(t, name); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s Compose says %v; want a refusal that names it", name, err)
		}
	}
}

var upstream = regexp.MustCompile(`\{\$PROJECT\}-([a-z-]+)-(\d+):(\d+)`)

// The proxy knows every instance of the gateways, and asks whether it is ready.
func TestComposeProxy(t *testing.T) {
	t.Parallel()
	project, err := load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(composeDir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range upstream.FindAllStringSubmatch(string(text), -1) {
		got = append(got, m[0])
	}
	for _, door := range []struct{ target, addr string }{{"ws-gateway", "OCEANCHAT_WS_GATEWAY_ADDR"}, {"api-gateway", "OCEANCHAT_HTTP_ADDR"}} {
		s := project.Services[door.target]
		for n := range *s.Deploy.Replicas {
			want = append(want, fmt.Sprintf("{$PROJECT}-%s-%d%s", door.target, n+1, *s.Environment[door.addr]))
		}
		if port := "health_port " + strings.TrimPrefix(*s.Environment["OCEANCHAT_OPS_ADDR"], ":"); !strings.Contains(string(text), port) {
			t.Errorf("the Caddyfile has no %q", port)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("instances that the Caddyfile names (-want +got):\n%s", diff)
	}
	if p := project.Services["proxy"].Environment["PROJECT"]; p == nil || *p != project.Name {
		t.Errorf("PROJECT of the proxy is %v; want %s", p, project.Name)
	}
	if strings.Count(string(text), "import ask_ready") != 2 || !strings.Contains(string(text), "health_uri /readyz") {
		t.Error("the Caddyfile does not have both doors ask /readyz")
	}
}

// What the services stand on is what docs/reference asks for.
func TestComposeServers(t *testing.T) {
	t.Parallel()
	project, err := load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"nats-1", "nats-2", "nats-3", "mongo-1", "mongo-2", "mongo-3", "redis", "proxy"} {
		s, err := project.GetService(name)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s mounts %s: %v", name, v.Source, err)
				}
			}
		}
		if !slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Type == types.VolumeTypeVolume }) {
			t.Errorf("%s keeps its data in no volume", name)
		}
		if name != "proxy" && (len(s.Ports) > 0 || s.HealthCheck == nil) {
			t.Errorf("%s: ports %v, health check %v; want it closed to the outside, and looked after", name, s.Ports, s.HealthCheck)
		}
		if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
			t.Errorf("%s runs %s; want a version", name, s.Image)
		}
	}
	redis := project.Services["redis"]
	for _, want := range []string{"--appendonly yes", "--maxmemory-policy noeviction", "--requirepass"} {
		if !strings.Contains(strings.Join(redis.Command, " "), want) {
			t.Errorf("redis runs %q; want %s", redis.Command, want)
		}
	}
	if !strings.Contains(strings.Join(redis.Command, " "), "--appendfsync always") {
		t.Errorf("redis runs %q; want what it acknowledged on the disk", redis.Command)
	}
	nats := project.Services["nats-1"]
	conf, err := os.ReadFile(filepath.Join(root, "deploy/nats/nats.conf"))
	if err != nil {
		t.Fatal(err)
	}
	variables := regexp.MustCompile(`\$(OC_NATS_[A-Z_]+)`).FindAllStringSubmatch(string(conf), -1)
	for _, m := range variables {
		if nats.Environment[m[1]] == nil {
			t.Errorf("nats-1 lacks %s, which nats.conf wants", m[1])
		}
	}
	for _, variable := range users(t) {
		if nats.Environment[variable] == nil {
			t.Errorf("nats-1 lacks %s, which users.conf wants", variable)
		}
	}
}
