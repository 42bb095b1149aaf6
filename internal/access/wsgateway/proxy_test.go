package wsgateway_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
	"github.com/oceanchat/oceanchat/internal/netdoor"
)

// certificate writes a certificate for localhost and its key.
func certificate(t *testing.T) netdoor.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	f := netdoor.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	for file, block := range map[string]*pem.Block{f.CertFile: {Type: "CERTIFICATE", Bytes: der}, f.KeyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// tcpWorld runs a gateway with a TCP door and returns where it listens.
func tcpWorld(t *testing.T, cfg wsgateway.Config, door func(*netdoor.Set) *netdoor.Door) (*world, string) {
	t.Helper()
	trust, err := netdoor.NewTrust([]string{"127.0.0.0/8"}, "")
	if err != nil {
		t.Fatal(err)
	}
	doors := netdoor.NewSet(trust, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	l := listening{make(chan string, 1)}
	w := build(t, cfg, wsgateway.Deps{Mounted: true, TCPAddr: "127.0.0.1:0", TCP: door(doors)}, l)
	w.run()
	t.Cleanup(w.stop)
	return w, <-l.addrs
}

// connections returns how many there are.
func (w *world) connections() int {
	families, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "oceanchat_ws_gateway_connections" {
			return int(f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	return -1
}

// A tcpClient speaks protobuf over the raw door, encrypted or not.
type tcpClient struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

func dialRaw(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return nc
}

// behind dials as a proxy does for the client from, which may be "".
func behind(t *testing.T, addr, from string) *tcpClient {
	t.Helper()
	nc := dialRaw(t, addr)
	if from != "" {
		_, _ = io.WriteString(nc, "PROXY TCP4 "+from+" 127.0.0.1 1000 8090\r\n")
	}
	return &tcpClient{t, nc, bufio.NewReader(nc)}
}

func (c *tcpClient) ask(method string, params proto.Message) {
	p, _ := proto.Marshal(params)
	b, _ := proto.Marshal(&wirev1.ClientFrame{Id: proto.Uint32(1), Method: method, Params: p})
	_, _ = c.nc.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
}

// connects reports whether connect is answered with a result.
func (c *tcpClient) connects(user string) bool {
	c.t.Helper()
	c.ask("connect", &wirev1.ConnectRequest{Token: user + ":s-" + user + ":d", DeviceId: "d", Platform: 1})
	return len(readTCP(c.t, c.nc, c.r).GetReply().GetResult()) > 0
}

// closed reads up to the push disconnect and returns its code.
func (c *tcpClient) closed() int32 {
	c.t.Helper()
	var bye wirev1.DisconnectPush
	for f := readTCP(c.t, c.nc, c.r); ; f = readTCP(c.t, c.nc, c.r) {
		if f.GetPush().GetMethod() == "disconnect" {
			if err := proto.Unmarshal(f.GetPush().GetParams(), &bye); err != nil {
				c.t.Fatal(err)
			}
			return bye.GetCode()
		}
	}
}

// The bound on connections that have not connected counts the client's address, which a trusted proxy tells.
func TestUnauthenticatedBehindProxy(t *testing.T) {
	t.Parallel()
	cfg := defaults(t)
	cfg.Unauthenticated = 1
	w, addr := tcpWorld(t, cfg, func(s *netdoor.Set) *netdoor.Door { return s.Door("tcp", netdoor.TLS{}, true) })
	dialRaw(t, addr) // a proxy that says nothing holds up nobody
	first := behind(t, addr, "1.1.1.1")
	eventually(t, "the first is there", func() bool { return w.connections() == 1 })
	if code := behind(t, addr, "1.1.1.1").closed(); code != 4008 {
		t.Errorf("the second of 1.1.1.1 closed with %d; want 4008", code)
	}
	if !behind(t, addr, "2.2.2.2").connects("bob") {
		t.Error("the first of 2.2.2.2 was refused; want its own bound")
	}
	if !first.connects("ann") {
		t.Error("the first of 1.1.1.1 was refused; want it served")
	}
	broken := behind(t, addr, "1.1.1.300")
	if _, err := broken.r.ReadByte(); err != io.EOF {
		t.Errorf("a broken PROXY header got %v; want the end", err)
	}
	first.ask("ping", &wirev1.PingRequest{})
	if f := readTCP(t, first.nc, first.r); f.GetReply() == nil {
		t.Errorf("ping of another connection = %v; want its answer", f)
	}
}

// The same for /ws behind a proxy that speaks HTTP.
func TestUnauthenticatedForwarded(t *testing.T) {
	t.Parallel()
	cfg := defaults(t)
	cfg.Unauthenticated = 1
	trust, err := netdoor.NewTrust([]string{"127.0.0.1"}, "X-Forwarded-For")
	if err != nil {
		t.Fatal(err)
	}
	w := build(t, cfg, wsgateway.Deps{Mounted: true, ClientIP: trust.Client}, slog.DiscardHandler)
	srv := httptest.NewServer(w.gw.Handler())
	w.addr = srv.Listener.Addr().String()
	w.run()
	t.Cleanup(srv.Close)
	t.Cleanup(w.stop)
	from := func(ip string) *client {
		c, status, err := w.handshake(http.Header{"X-Forwarded-For": {"6.6.6.6, " + ip}})
		if err != nil || status != http.StatusSwitchingProtocols {
			t.Fatalf("handshake = %d, %v; want 101", status, err)
		}
		return c
	}
	first := from("1.1.1.1")
	eventually(t, "the first is there", func() bool { return w.connections() == 1 })
	from("1.1.1.1").wantClose(4008)
	from("2.2.2.2").connect("bob", true)
	first.connect("ann", true)
}

// A handshake has the time of connect, and meanwhile others are served.
func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	cfg := defaults(t)
	cfg.AuthTimeout, cfg.CloseTimeout = 2*time.Second, 100*time.Millisecond
	files := certificate(t)
	_, addr := tcpWorld(t, cfg, func(s *netdoor.Set) *netdoor.Door { return s.Door("tcp", files, false) })
	silent, half := dialRaw(t, addr), dialRaw(t, addr)
	_, _ = half.Write([]byte{0x16, 0x03, 0x01, 0x02}) // the beginning of a ClientHello
	plain := behind(t, addr, "")
	plain.ask("connect", &wirev1.ConnectRequest{})

	nc := tls.Client(dialRaw(t, addr), &tls.Config{InsecureSkipVerify: true})
	c := &tcpClient{t, nc, bufio.NewReader(nc)}
	if !c.connects("ann") {
		t.Error("connect over TLS was refused; want a result")
	}
	for name, nc := range map[string]net.Conn{"silent": silent, "half a hello": half, "no TLS at all": plain.nc} {
		if _, err := io.Copy(io.Discard, nc); err != nil {
			t.Errorf("%s: %v; want the server to close", name, err)
		}
	}
	c.ask("ping", &wirev1.PingRequest{})
	if f := readTCP(t, nc, c.r); f.GetReply() == nil && f.GetPush() == nil {
		t.Errorf("ping over TLS = %v; want its answer", f)
	}
}
