// Package standin runs the server that stands in for MongoDB in tests and in a local cluster: mongo-java-server, which
// speaks MongoDB's wire protocol and keeps everything in memory. It needs java (a JDK, 17 or newer) and, the first time,
// mvn, which fetches the jars. It is no MongoDB: docs/reference/mongodb.md lists what it lacks.
package standin

import (
	"bufio"
	"context"
	"crypto/sha256"
	_ "embed" // the two files below
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed pom.xml
var pom []byte

//go:embed Standin.java
var program []byte

// goal is the Maven goal that names the jars, with its version: the one that a Debian Maven would choose is too old.
const goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:build-classpath"

// ErrUnavailable says that this machine lacks java or mvn.
var ErrUnavailable = errors.New("the MongoDB stand-in needs java and mvn")

// Server is a running stand-in.
type Server struct {
	URI string // for a driver

	cmd   *exec.Cmd
	stdin io.Closer
}

// Start starts a stand-in on 127.0.0.1 and port, 0 for any free one, and returns when it listens. ctx bounds the start
// only, which may fetch jars. The server ends with Stop, or when this process does.
func Start(ctx context.Context, port int) (*Server, error) {
	for _, name := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(name); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	dir, err := folder()
	if err != nil {
		return nil, err
	}
	jars, err := classPath(ctx, dir)
	if err != nil {
		return nil, err
	}
	source := filepath.Join(dir, "Standin.java")
	if err := place(source, program); err != nil {
		return nil, err
	}
	return run(exec.Command("java", "-Xmx1g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", jars, source, strconv.Itoa(port)))
}

func run(cmd *exec.Cmd) (*Server, error) {
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the MongoDB stand-in: %w", err)
	}
	s := &Server{cmd: cmd, stdin: stdin}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("the MongoDB stand-in did not start: %w", errors.Join(err, s.Stop()))
	}
	s.URI = "mongodb://127.0.0.1:" + strings.TrimSpace(line) + "/"
	return s, nil
}

// Stop ends the server and waits for it.
func (s *Server) Stop() error { return errors.Join(s.stdin.Close(), s.cmd.Wait()) }

// Wait waits until the server has ended by itself.
func (s *Server) Wait() error { return s.cmd.Wait() }

// folder returns where the list of jars is kept, one folder for each version of what is embedded here.
func folder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	sum := sha256.Sum256(append(pom[:len(pom):len(pom)], program...))
	dir := filepath.Join(cache, "oceanchat", fmt.Sprintf("mongostandin-%x", sum[:6]))
	return dir, os.MkdirAll(dir, 0o700)
}

// classPath returns the jars, asking Maven if they are not known or gone.
func classPath(ctx context.Context, dir string) (string, error) {
	list := filepath.Join(dir, "classpath")
	if text, err := os.ReadFile(list); err == nil && allThere(string(text)) {
		return string(text), nil
	}
	work, err := os.MkdirTemp(dir, "maven")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := os.WriteFile(filepath.Join(work, "pom.xml"), pom, 0o600); err != nil {
		return "", err
	}
	out := filepath.Join(work, "classpath")
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", filepath.Join(work, "pom.xml"), goal, "-Dmdep.outputFile="+out)
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch the jars of the MongoDB stand-in: %w\n%s", err, said)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return "", err
	}
	return string(text), place(list, text)
}

func allThere(jars string) bool {
	for jar := range strings.SplitSeq(jars, string(filepath.ListSeparator)) {
		if _, err := os.Stat(jar); err != nil {
			return false
		}
	}
	return jars != ""
}

// place makes a file whole at once, since several processes may do so.
func place(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "part")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
