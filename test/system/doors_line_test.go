package system

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	enc "encoding/binary" // binary is what is tested
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"google.golang.org/protobuf/proto"

	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/wire"
	"github.com/oceanchat/oceanchat/test/client"
)

// A door is a form of the long connection. Everything else about it is the same for a client.
type door struct {
	name        string
	form        wire.Form
	subprotocol string // "" means raw TCP
	data        ws.OpCode
}

var doors = []door{
	{"json", wire.JSON, "oceanchat.json", ws.OpText},
	{"proto", wire.Proto, "oceanchat.proto", ws.OpBinary},
	{"tcp", wire.Proto, "", 0},
}

// line is a connection of any door. It reads only when it is asked to, one goroutine uses it.
type line struct {
	t      *testing.T
	door   door
	nc     net.Conn
	r      *bufio.Reader
	next   uint32
	pushes []push // that came while something else was waited for
	deaf   bool   // answers no pings
	length int    // of the longest packet that came
}

// push is what the server told, in the words of JSON.
type push struct{ method, params string }

// patienceOfLines is how long anything may take that must happen; timing never decides a test.
const patienceOfLines = 30 * time.Second

// dialDoor opens a connection without connecting.
func dialDoor(t *testing.T, s *server, d door) *line {
	t.Helper()
	var nc net.Conn
	var br *bufio.Reader
	var err error
	switch {
	case d.subprotocol != "":
		scheme := map[bool]string{false: "ws", true: "wss"}[s.tls != nil]
		dialer := ws.Dialer{Protocols: []string{d.subprotocol}, TLSConfig: s.tls}
		_, host, _ := strings.Cut(s.base, "://")
		nc, br, _, err = dialer.Dial(within(t, patienceOfLines), scheme+"://"+host+"/ws")
	case s.tls != nil:
		nc, err = tls.Dial("tcp", s.tcp, s.tls)
	default:
		nc, err = net.Dial("tcp", s.tcp)
	}
	if err != nil {
		t.Fatalf("dial %s: %v", d.name, err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(2 * patienceOfLines))
	if br == nil {
		br = bufio.NewReader(nc)
	}
	return &line{t: t, door: d, nc: nc, r: br}
}

// raw writes bytes as they are. A server that closed already is no error here: reading tells.
func (l *line) raw(b []byte) { _, _ = l.nc.Write(b) }

// packet writes one packet in the door's framing.
func (l *line) packet(b []byte) {
	if l.door.subprotocol == "" {
		l.raw(append(enc.AppendUvarint(nil, uint64(len(b))), b...))
		return
	}
	l.raw(ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(l.door.data, true, b))))
}

// head returns the first bytes of a frame of size bytes, whose content never comes.
func (l *line) head(size int) []byte {
	if l.door.subprotocol == "" {
		return enc.AppendUvarint(nil, uint64(size))
	}
	b := []byte{0x80 | byte(l.door.data), 0x80 | 127}
	if size < 1<<16 {
		return append(enc.BigEndian.AppendUint16([]byte{b[0], 0x80 | 126}, uint16(size)), 1, 2, 3, 4)
	}
	return append(enc.BigEndian.AppendUint64(b, uint64(size)), 1, 2, 3, 4)
}

// closedError is a close frame of the server.
type closedError int

func (e closedError) Error() string { return fmt.Sprint("closed with ", int(e)) }

// read returns the next packet, or none after answering a ping.
func (l *line) read() ([]byte, error) {
	if l.door.subprotocol == "" {
		size, err := enc.ReadUvarint(l.r)
		if err != nil {
			return nil, err
		}
		b := make([]byte, size)
		_, err = io.ReadFull(l.r, b)
		return b, err
	}
	for {
		h, err := ws.ReadHeader(l.r)
		if err != nil {
			return nil, err
		}
		b := make([]byte, h.Length)
		if _, err := io.ReadFull(l.r, b); err != nil {
			return nil, err
		}
		switch {
		case h.OpCode == ws.OpClose && len(b) >= 2:
			l.raw(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(b[:2]))))
			return nil, closedError(enc.BigEndian.Uint16(b))
		case h.OpCode == ws.OpPing:
			if !l.deaf {
				l.raw(ws.MustCompileFrame(ws.MaskFrame(ws.NewPongFrame(b))))
			}
			l.pushes = append(l.pushes, push{"ping", ""})
			return nil, nil
		case h.OpCode == l.door.data:
			return b, nil
		default:
			return nil, fmt.Errorf("frame of type %x on a door of %x", h.OpCode, l.door.data)
		}
	}
}

// reply is an answer, in the words of JSON whatever the door.
type reply struct {
	id     uint32
	result []byte // encoded in the door's form
	err    *wirev1.Error
	number int // JSON only
}

// frame reads the next packet and returns it as an answer, or keeps it as a push.
func (l *line) frame() (*reply, error) {
	b, err := l.read()
	if err != nil || b == nil {
		return nil, err
	}
	l.length = max(l.length, len(b))
	if l.door.form == wire.Proto {
		return l.protoFrame(b)
	}
	var f struct {
		ID     *uint32
		Method string
		Params json.RawMessage
		Result json.RawMessage
		Error  *struct {
			Code int
			Data json.RawMessage
		}
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	if f.Method != "" {
		l.pushes = append(l.pushes, push{f.Method, string(f.Params)})
		return nil, nil
	}
	r := &reply{result: f.Result}
	if f.ID != nil {
		r.id = *f.ID
	}
	if f.Error != nil {
		r.err, r.number = &wirev1.Error{}, f.Error.Code
		err = wire.UnmarshalAnswer(f.Error.Data, r.err)
	}
	return r, err
}

// pushMessages are the params of pushes.
var pushMessages = map[string]proto.Message{
	"entry": &wirev1.EntryPush{}, "typing": &wirev1.TypingPush{}, "presence": &wirev1.PresencePush{}, "receipt": &wirev1.ReceiptPush{},
	"conversation": &wirev1.ConversationPush{}, "resync": &wirev1.ResyncPush{}, "disconnect": &wirev1.DisconnectPush{}, "ping": &wirev1.PingRequest{},
}

func (l *line) protoFrame(b []byte) (*reply, error) {
	var f wirev1.ServerFrame
	if err := proto.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	if r := f.GetReply(); r != nil {
		return &reply{id: r.GetId(), result: r.GetResult(), err: r.GetError()}, nil
	}
	method := f.GetPush().GetMethod()
	m := proto.Clone(pushMessages[method])
	if err := proto.Unmarshal(f.GetPush().GetParams(), m); err != nil {
		return nil, err
	}
	text, err := wire.MarshalJSON(m)
	l.pushes = append(l.pushes, push{method, string(text)})
	if method == "ping" && l.door.subprotocol == "" && !l.deaf {
		l.request("pong", "{}", 0)
	}
	return nil, err
}

// request writes a request whose params are given in JSON. Without an id there is no answer.
func (l *line) request(method, params string, id uint32) {
	l.t.Helper()
	if l.door.form == wire.JSON {
		text := fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":%s}`, method, params)
		if id > 0 {
			text = fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, id, method, params)
		}
		l.packet([]byte(text))
		return
	}
	m, _ := messagesOf(method)
	f := &wirev1.ClientFrame{Method: method}
	if id > 0 {
		f.Id = &id
	}
	var err1, err2 error
	if m != nil {
		err1 = wire.UnmarshalJSON([]byte(params), m)
		f.Params, err2 = proto.Marshal(m)
	}
	b, err3 := proto.Marshal(f)
	if err := errors.Join(err1, err2, err3); err != nil {
		l.t.Fatalf("encode %s %s: %v", method, params, err)
	}
	l.packet(b)
}

// own are the messages of the gateway's own methods.
var own = map[string][2]proto.Message{
	"connect": {&wirev1.ConnectRequest{}, &wirev1.ConnectResponse{}},
	"ping":    {&wirev1.PingRequest{}, &wirev1.PingResponse{}},
	"ack":     {&wirev1.AckRequest{}, &wirev1.AckResponse{}},
}

// messagesOf returns a method's messages, or nil for one that is not there.
func messagesOf(method string) (params, result proto.Message) {
	if o, ok := own[method]; ok {
		return proto.Clone(o[0]), proto.Clone(o[1])
	}
	if m, ok := wire.Lookup(method); ok {
		return m.NewRequest(), m.NewResponse()
	}
	return nil, nil
}

// call asks and returns the answer as JSON: the result, or the error object.
func (l *line) call(method, params string) string {
	l.t.Helper()
	_, resp := messagesOf(method)
	l.next++
	l.request(method, params, l.next)
	for {
		r, err := l.frame()
		switch {
		case err != nil:
			l.t.Fatalf("%s: waiting for the answer to %s %s: %v", l.door.name, method, params, err)
		case r == nil:
			continue
		case r.id != l.next:
			l.t.Fatalf("%s: answer to %d came for %d", l.door.name, l.next, r.id)
		case r.err != nil:
			return "error " + asText(l.t, r.err)
		case l.door.form == wire.JSON:
			// Through the message, so that a field that is missing or new shows.
			if err := wire.UnmarshalAnswer(r.result, resp); err != nil {
				l.t.Fatalf("%s = %s: %v", method, r.result, err)
			}
			if got := asText(l.t, resp); got != string(r.result) {
				l.t.Fatalf("%s = %s; read and written again %s", method, r.result, got)
			}
			return string(r.result)
		default:
			if err := proto.Unmarshal(r.result, resp); err != nil {
				l.t.Fatalf("%s = %x: %v", method, r.result, err)
			}
			return asText(l.t, resp)
		}
	}
}

func asText(t *testing.T, m proto.Message) string {
	t.Helper()
	b, err := wire.MarshalJSON(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// await returns the params of the next push of a method.
func (l *line) await(method string) string {
	l.t.Helper()
	for {
		for i, p := range l.pushes {
			if p.method == method {
				l.pushes = append(l.pushes[:i:i], l.pushes[i+1:]...)
				return p.params
			}
		}
		if _, err := l.frame(); err != nil {
			l.t.Fatalf("%s: waiting for the push %s: %v", l.door.name, method, err)
		}
	}
}

// closed reads to the end and returns the push disconnect, checked against the close frame where the door has one, and
// the errors that were answered before it.
func (l *line) closed() (params string, answers []string) {
	l.t.Helper()
	for {
		r, err := l.frame()
		if r != nil && r.err != nil {
			answers = append(answers, r.err.GetReason())
		}
		if err == nil {
			continue
		}
		var bye struct{ Code int }
		for _, p := range l.pushes {
			if p.method == "disconnect" {
				params = p.params
			}
		}
		_ = json.Unmarshal([]byte(params), &bye)
		var closed closedError
		if l.door.subprotocol != "" && (!errors.As(err, &closed) || int(closed) != bye.Code) {
			l.t.Errorf("%s: ended with %v after the push disconnect %s; want the same code", l.door.name, err, params)
		}
		if l.door.subprotocol == "" && !errors.Is(err, io.EOF) {
			l.t.Errorf("%s: ended with %v; want the end", l.door.name, err)
		}
		return params, answers
	}
}

// wantClosed fails unless the server closes with code after these answers.
func (l *line) wantClosed(code int, answers ...string) {
	l.t.Helper()
	params, got := l.closed()
	if !strings.HasPrefix(params, fmt.Sprintf(`{"code":%d,`, code)) || fmt.Sprint(got) != fmt.Sprint(answers) {
		l.t.Errorf("%s: closed with %s after the errors %v; want %d after %v", l.door.name, params, got, code, answers)
	}
}

// connectAs connects as u and returns the answer.
func (l *line) connectAs(u *client.User) string {
	l.t.Helper()
	return l.call("connect", fmt.Sprintf(`{"token":%q,"deviceId":%q,"platform":%q,"syncToken":"","acks":true}`, u.Token, u.Device, u.Platform))
}

// certify writes a certificate for the loopback address into dir and returns the flags for a server that speaks TLS on
// every port, and what its clients believe.
func certify(t *testing.T, dir string) (flags []string, cfg *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ports := []string{"http", "tcp", "ops"}
	if !oneProcess(t) {
		ports = ports[:2] // who starts a cluster asks its processes over plain HTTP whether they are ready
	}
	for _, port := range ports {
		flags = append(flags, "--"+port+"-tls-cert-file", certFile, "--"+port+"-tls-key-file", keyFile)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return flags, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

// startDoors runs the binary, with TLS on every port if encrypted.
func startDoors(t *testing.T, encrypted bool, flags ...string) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), log: &output{}}
	s.flags = append([]string{"--auth-hash-memory", "64KiB", "--auth-hash-time", "1", "--group-create-per-minute", "0"}, flags...)
	if encrypted {
		tlsFlags, cfg := certify(t, t.TempDir())
		s.flags, s.tls = append(s.flags, tlsFlags...), cfg
	}
	s.up()
	t.Cleanup(s.end)
	return s
}

// member registers a user and logs it in, over whatever the server speaks.
func (s *server) member(t *testing.T, name string) *client.User {
	t.Helper()
	u := &client.User{
		REST: client.REST{Base: s.base, HTTP: s.web()}, Username: name, Password: "correct horse " + name, Device: "dev-" + name, Platform: "web",
	}
	t.Cleanup(u.HTTP.CloseIdleConnections)
	var made struct{ User struct{ UserID string } }
	err := u.Do(t.Context(), "POST", "/auth/register", client.Object{"username": name, "password": u.Password, "nickname": "Nick"}, &made)
	if err == nil {
		u.ID = made.User.UserID
		err = u.Login(t.Context())
	}
	if err != nil {
		t.Fatalf("register %s: %v", name, err)
	}
	return u
}
