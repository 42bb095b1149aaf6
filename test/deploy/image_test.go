package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The image is built from a part of the tree: everything that the binary is made of must be in it, and runs as nobody.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	ignore, err := os.ReadFile(filepath.Join(root, "deploy/Dockerfile.dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	var sent []string
	for line := range strings.Lines(string(ignore)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "!"); ok {
			sent = append(sent, name)
		}
	}
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}", "./cmd/oceanchat")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 20 {
		t.Fatalf("the binary is made of %q; the test reads it wrongly", packages)
	}
	for _, p := range packages {
		top, _, _ := strings.Cut(strings.TrimPrefix(p, "github.com/oceanchat/oceanchat/"), "/")
		if !slices.Contains(sent, top) {
			t.Errorf("%s is not sent to the build, by Dockerfile.dockerignore", p)
		}
	}
	file, err := os.ReadFile(filepath.Join(root, "deploy/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	stages := strings.Split(string(file), "\nFROM ")[1:]
	for _, stage := range stages[1:] {
		for _, want := range []string{"distroless/static", "COPY --from=build /oceanchat", "USER 65532", `ENTRYPOINT ["/usr/bin/oceanchat"]`} {
			if !strings.Contains(stage, want) {
				t.Errorf("a stage that is shipped lacks %s:\n%s", want, stage)
			}
		}
	}
	if len(stages) != 3 || strings.Contains(string(file), ":latest") || !strings.Contains(stages[0], "CGO_ENABLED=0") {
		t.Errorf("%d stages; want a static build, one for Compose, one that is shipped, and no version that moves", len(stages))
	}
}
