//go:build unix

package wsgateway_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
)

// BenchmarkIdleConnection reports what an idle, connected client costs the gateway. Clients are bare file descriptors,
// so that all memory that grows is the server's.
//
//	go test -run '^$' -bench IdleConnection -benchtime 5000x ./internal/access/wsgateway
func BenchmarkIdleConnection(b *testing.B) {
	w := start(b, func(c *wsgateway.Config) {
		c.Heartbeat, c.Unauthenticated, c.DrainSpread = time.Hour, 1<<20, 0
	})
	warm := dialFD(b, w.addr, "warm")
	defer func() { _ = syscall.Close(warm) }()
	before, rssBefore := memory()
	fds := make([]int, 0, b.N)
	for i := range b.N {
		fds = append(fds, dialFD(b, w.addr, fmt.Sprintf("user-%d", i)))
	}
	b.StopTimer()
	if b.N > 1 {
		<-time.After(6 * time.Second) // until readers have settled
	}
	w.presence.mu.Lock()
	w.presence.hellos = nil // not the gateway's
	w.presence.mu.Unlock()
	after, rssAfter := memory()
	if n := float64(b.N); n > 1 {
		b.ReportMetric((after-before)/n/1024, "KiB/conn")
		b.ReportMetric(stacks()/n/1024, "stack-KiB/conn")
		b.ReportMetric((rssAfter-rssBefore)/n/1024, "RSS-KiB/conn")
	}
	for _, fd := range fds {
		_ = syscall.Close(fd)
	}
	w.stop()
}

// memory returns bytes of heap and stacks in use, and resident, after collecting garbage.
func memory() (inUse, resident float64) {
	for range 4 { // each collection halves a stack that has grown once
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	statm, err := os.ReadFile("/proc/self/statm")
	if fields := strings.Fields(string(statm)); err == nil && len(fields) > 1 {
		pages, _ := strconv.ParseFloat(fields[1], 64)
		resident = pages * float64(os.Getpagesize())
	}
	return float64(m.HeapAlloc + m.StackInuse), resident
}

func stacks() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.StackInuse)
}

// dialFD connects user without leaving anything in Go's memory but a file descriptor.
func dialFD(b *testing.B, addr, user string) int {
	b.Helper()
	ap := netip.MustParseAddrPort(addr)
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()})
	}
	if err != nil {
		b.Fatalf("dial = %v; want nil", err)
	}
	exchange := func(out []byte, until string) {
		if _, err := syscall.Write(fd, out); err != nil {
			b.Fatalf("write = %v; want nil", err)
		}
		var got []byte
		for buf := make([]byte, 4<<10); !bytes.Contains(got, []byte(until)); {
			n, err := syscall.Read(fd, buf)
			if n <= 0 {
				b.Fatalf("read %q, %v; want %s", got, err, until)
			}
			got = append(got, buf[:n]...)
		}
	}
	exchange([]byte("GET /ws HTTP/1.1\r\nHost: "+addr+"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"), "\r\n\r\n")
	exchange(rawFrame(ws.OpText, true, true, []byte(`{"jsonrpc":"2.0","id":0,"method":"connect","params":`+
		connectParams(user, "session-of-"+user, "d-"+user, true)+`}`)), `"nextPageToken"`)
	return fd
}
