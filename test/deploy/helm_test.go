package deploy_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/oceanchat/oceanchat/internal/app"
	"github.com/oceanchat/oceanchat/internal/config"
)

var update = flag.Bool("update", false, "write the golden files of the Helm chart anew")

const (
	chart       = root + "/deploy/helm/oceanchat"
	kubeVersion = "1.31.0"
)

// helm runs the helm that the Makefile installs, or the one in PATH.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	bin, err := exec.LookPath(root + "/.bin/helm")
	if err != nil {
		bin, err = exec.LookPath("helm")
	}
	if err != nil {
		t.Skip("no helm: make helm") // .ci/run makes it, and fails on a skip
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir(), "KUBECONFIG=/dev/null")
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return out.String(), errors.New(problems.String())
	}
	return out.String(), nil
}

func valuesFile(name string) string { return "testdata/helm/" + name + ".values.yaml" }

// The chart passes helm's own checks, and makes what the golden files say.
func TestHelm(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"least", "full"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := helm(t, "lint", "--strict", "--kube-version", kubeVersion, "--values", valuesFile(name), chart); err != nil {
				t.Errorf("helm lint = %v\n%s", err, out)
			}
			got, err := helm(t, "template", "chat", chart, "--namespace", "chat", "--kube-version", kubeVersion, "--values", valuesFile(name))
			if err != nil {
				t.Fatal(err)
			}
			got = withoutDashboards(got)
			golden := "testdata/helm/" + name + ".golden.yaml"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the chart makes something else; see whether you want it: go test ./test/deploy -run TestHelm -update (-want +got):\n%s", diff)
			}
			checkObjects(t, got)
		})
	}
}

var (
	dashboard = regexp.MustCompile(`(?m)^(  [a-z-]+\.json: \|\n)(    .*\n|\s*\n)+`)
	ruleSpec  = regexp.MustCompile(`(?m)^(kind: PrometheusRule\n(?:.+\n)*?spec:\n)(?:.*\n)*?(---|\z)`)
)

// withoutDashboards leaves out the contents of files that have tests of their own, so that a change of them does not
// change a golden file.
func withoutDashboards(text string) string {
	text = ruleSpec.ReplaceAllString(text, "$1  # rules.yaml\n$2")
	return dashboard.ReplaceAllString(text, "$1    # the file\n")
}

// object is what the tests look at of a Kubernetes object.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		ClusterIP                string `yaml:"clusterIP"`
		PublishNotReadyAddresses bool   `yaml:"publishNotReadyAddresses"`
		Template                 struct{ Spec pod }
	}
	Data map[string]string
}

type pod struct {
	TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
	SecurityContext               struct {
		RunAsNonRoot bool `yaml:"runAsNonRoot"`
	} `yaml:"securityContext"`
	Containers []struct {
		Args           []string
		Env            []struct{ Name, Value string }
		ReadinessProbe struct {
			HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
		} `yaml:"readinessProbe"`
		LivenessProbe struct {
			HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
		} `yaml:"livenessProbe"`
		Resources       struct{ Limits struct{ Memory string } }
		SecurityContext struct {
			ReadOnlyRootFilesystem bool `yaml:"readOnlyRootFilesystem"`
		} `yaml:"securityContext"`
	}
}

// checkObjects looks at what no golden file says is right: a target of each name, that stops gently, and settings that this
// binary has.
func checkObjects(t *testing.T, text string) {
	t.Helper()
	kinds, prefix := map[string][]string{}, ""
	var deployments []object
	var settings string
	for dec := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o object
		err := dec.Decode(&o)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kinds[o.Kind] = append(kinds[o.Kind], o.Metadata.Name)
		switch {
		case o.Kind == "Deployment":
			deployments = append(deployments, o)
		case o.Data["oceanchat.yaml"] != "":
			settings, prefix = o.Data["oceanchat.yaml"], strings.TrimSuffix(o.Metadata.Name, "settings")
		case o.Kind == "Service" && (o.Spec.ClusterIP == "None") != o.Spec.PublishNotReadyAddresses:
			t.Errorf("Service %s: clusterIP %q, publishNotReadyAddresses %t; want gRPC to see all instances, and others only those that are ready",
				o.Metadata.Name, o.Spec.ClusterIP, o.Spec.PublishNotReadyAddresses)
		case o.Kind == "Secret":
			t.Errorf("the chart makes the secret %s; want it to use existing ones only", o.Metadata.Name)
		}
	}
	for _, target := range app.Targets() {
		for _, kind := range []string{"Deployment", "Service", "PodDisruptionBudget"} {
			if !slices.Contains(kinds[kind], prefix+target) {
				t.Errorf("no %s for %s", kind, target)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "oceanchat.yaml")
	if err := os.WriteFile(file, []byte(withFiles(t, settings)), 0o600); err != nil {
		t.Fatal(err)
	}
	var drain struct{ Drain struct{ Timeout string } }
	if err := yaml.Unmarshal([]byte(settings), &drain); err != nil {
		t.Fatal(err)
	}
	timeout, err := time.ParseDuration(drain.Drain.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range deployments {
		s, c := d.Spec.Template.Spec, d.Spec.Template.Spec.Containers[0]
		if time.Duration(s.TerminationGracePeriodSeconds)*time.Second <= timeout {
			t.Errorf("%s is killed after %d s; want more than drain.timeout, %s", d.Metadata.Name, s.TerminationGracePeriodSeconds, timeout)
		}
		if !s.SecurityContext.RunAsNonRoot || !c.SecurityContext.ReadOnlyRootFilesystem {
			t.Errorf("%s may more than it needs", d.Metadata.Name)
		}
		if c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.LivenessProbe.HTTPGet.Path != "/healthz" {
			t.Errorf("%s: probes %+v, %+v", d.Metadata.Name, c.ReadinessProbe, c.LivenessProbe)
		}
		if len(c.Args) != 1 || prefix+c.Args[0] != d.Metadata.Name {
			t.Errorf("%s runs %q", d.Metadata.Name, c.Args)
		}
		env := map[string]string{}
		for _, e := range c.Env {
			env[e.Name] = e.Value // "" for those of secrets
		}
		env["OCEANCHAT_CONFIG"] = file
		checkMemory(t, d.Metadata.Name, env["GOMEMLIMIT"], c.Resources.Limits.Memory)
		delete(env, "GOMEMLIMIT")
		checkSettings(t, env)
	}
}

// checkMemory fails unless the collector of Go works harder before a container has all that it may have.
func checkMemory(t *testing.T, name, goal, limit string) {
	t.Helper()
	var a, b config.Bytes
	if err := errors.Join(a.UnmarshalText([]byte(goal)), b.UnmarshalText([]byte(strings.TrimSuffix(limit, "B")+"B"))); err != nil {
		t.Errorf("%s: GOMEMLIMIT %q, memory limit %q: %v", name, goal, limit, err)
	} else if part := float64(a) / float64(b); part < 0.8 || part > 0.9 {
		t.Errorf("%s: GOMEMLIMIT %s is %.2f of the memory limit %s; want 0.8 to 0.9", name, goal, part, limit)
	}
}

// Every way to write a quantity of memory is understood, and what is none is said.
func TestHelmMemory(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`"4Gi"`: "GOMEMLIMIT", `"1.5Gi"`: "value: 1305MiB", `"2G"`: "value: 1621MiB", `1073741824`: "value: 870MiB", `"1073741824"`: "value: 870MiB", `"1000000k"`: "value: 810MiB",
		`"12 apples"`: "is no quantity", `"512mi"`: "is no quantity",
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			out, err := helm(t, "template", "chat", chart, "--kube-version", kubeVersion, "--values", valuesFile("least"),
				"--show-only", "templates/deployments.yaml", "--set-json=targets.user.resources.limits.memory="+value)
			if err != nil {
				out += err.Error()
			}
			if !strings.Contains(out, want) {
				t.Errorf("helm template with a memory limit of %s does not say %q: %v", value, want, err)
			}
		})
	}
}

// What must be set is said, one by one.
func TestHelmSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"image.repository", "nats.urls", "nats.passwordSecret", "redis.addrs", "mongo.secret.name", "ingress.host"} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			empty := "--set-string=" + value + "="
			if value == "nats.urls" || value == "redis.addrs" {
				empty = "--set-json=" + value + "=[]"
			}
			_, err := helm(t, "template", "chat", chart, "--kube-version", kubeVersion, "--values", valuesFile("least"), empty)
			if err == nil || !strings.Contains(err.Error(), value+" is missing") {
				t.Errorf("helm template = %v; want it to say that %s is missing", err, value)
			}
		})
	}
}
