package local_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// The variables by which this binary is told to be something else than a test.
const (
	fakeVariable  = "LOCAL_TEST_FAKE"  // a service
	childVariable = "LOCAL_TEST_CHILD" // who starts parts in that directory, and is killed
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(fakeVariable) != "":
		os.Exit(fakeService())
	case os.Getenv(childVariable) != "":
		os.Exit(child(os.Getenv(childVariable)))
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// fakeService serves where a service is told to, and answers with its name.
func fakeService() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	name := filepath.Base(os.Getenv("OCEANCHAT_DATA_DIR"))
	fmt.Println("this is", name, "of", filepath.Base(os.Args[0]))
	if os.Getenv(fakeVariable) == "fail "+name {
		return 3
	}
	var draining atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if draining.Load() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/drain", func(http.ResponseWriter, *http.Request) { draining.Store(true) })
	mux.HandleFunc("/ws", func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		echo(conn, buf.Reader, name)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", name, r.Header.Get("X-Forwarded-For"), body)
	})
	for _, v := range []string{"OPS", "HTTP", "WS_GATEWAY"} {
		if addr := os.Getenv("OCEANCHAT_" + v + "_ADDR"); addr != "" {
			go func() { _ = http.ListenAndServe(addr, mux) }()
		}
	}
	if addr := os.Getenv("OCEANCHAT_TCP_ADDR"); addr != "" {
		go serveTCP(addr, name)
	}
	<-ctx.Done()
	return 0
}

func serveTCP(addr, name string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		panic(err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer conn.Close()
			echo(conn, bufio.NewReader(conn), name)
		}()
	}
}

// echo answers each line with the name and the line.
func echo(w io.Writer, r *bufio.Reader, name string) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		fmt.Fprintf(w, "%s %s", name, line)
	}
}

// child starts parts, tells their ids and waits for its end.
func child(dir string) int {
	parts, err := local.StartParts(context.Background(), options(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, p := range parts.Processes() {
		fmt.Print(p.PID(), " ")
	}
	fmt.Println()
	select {}
}

// options are those of parts without the stand-in, which takes long, and without a binary.
func options(dir string) local.Options {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return local.Options{Dir: dir, Binary: self, Servers: 1, Sync: "interval", Tenants: 3, Mongo: "mongodb://127.0.0.1:1"}
}

// start starts parts that end with the test.
func start(t *testing.T, o local.Options) *local.Parts {
	t.Helper()
	needRedis(t)
	parts, err := local.StartParts(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := parts.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return parts
}

// need skips where a program is missing; in CI that is a failure.
func need(t *testing.T, name, debian string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	why := fmt.Sprintf("there is no %s in PATH (Debian: apt-get install %s)", name, debian)
	if os.Getenv("OCEANCHAT_CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func needRedis(t *testing.T) {
	t.Helper()
	need(t, "redis-server", "redis-server")
}

// gone tells whether no process has that id any more, a zombie not counted.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		p, err := os.FindProcess(pid)
		return err != nil || p.Signal(syscall.Signal(0)) != nil
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z")
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}
