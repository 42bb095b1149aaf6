package local

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// The programs of this module and of one that go.mod names, all built without C.
const (
	oceanchatPackage = "github.com/oceanchat/oceanchat/cmd/oceanchat"
	standinPackage   = "github.com/oceanchat/oceanchat/tools/mongostandin"
	natsPackage      = "github.com/nats-io/nats-server/v2"
)

// build compiles a package into dir and returns the binary. It works in any folder of this module.
func build(ctx context.Context, dir, name, pkg string) (string, error) {
	path := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// redisServer finds Redis, which is no Go program.
func redisServer() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", fmt.Errorf("there is no redis-server in PATH (Debian: apt-get install redis-server): %w", err)
	}
	return path, nil
}

// needJava says in one line what the stand-in for MongoDB lacks; it would say it in a log.
func needJava() error {
	for _, name := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("the stand-in for MongoDB needs a JDK and Maven (Debian: apt-get install default-jdk-headless maven): %w", err)
		}
	}
	return nil
}
