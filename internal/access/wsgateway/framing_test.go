package wsgateway //nolint:testpackage // the framings are not exported

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
)

func clientFrame(op ws.OpCode, fin bool, body string) []byte {
	return ws.MustCompileFrame(ws.MaskFrameWith(ws.NewFrame(op, fin, []byte(body)), [4]byte{1, 2, 3, 4}))
}

// cut feeds in to a framing in pieces of size bytes and returns what came out.
func cut(f framing, in []byte, size, limit int) (units []string, err error) {
	var p partial
	var buf []byte
	for len(in) > 0 {
		n := min(size, len(in))
		buf, in = append(buf, in[:n]...), in[n:]
		for len(buf) > 0 {
			u, n, err := f.next(buf, &p, limit)
			if err != nil {
				return units, err
			}
			if n == 0 {
				break
			}
			if u.op != ws.OpContinuation {
				units = append(units, string(rune('0'+u.op))+string(u.payload))
			}
			buf = buf[n:]
		}
		if len(buf)+len(p.buf) > limit+14 {
			return units, errors.New("more is kept than the limit allows")
		}
	}
	return units, nil
}

func TestFramingIsTheSameForAnyCut(t *testing.T) {
	t.Parallel()
	var in []byte
	for _, f := range [][]byte{
		clientFrame(ws.OpText, true, "one"), clientFrame(ws.OpText, false, "two "), clientFrame(ws.OpPing, true, "p"),
		clientFrame(ws.OpContinuation, false, ""), clientFrame(ws.OpContinuation, true, "three"),
		clientFrame(ws.OpText, true, string(bytes.Repeat([]byte("x"), 300))), clientFrame(ws.OpClose, true, ""),
	} {
		in = append(in, f...)
	}
	want := []string{"1one", "9p", "1two three", "1" + string(bytes.Repeat([]byte("x"), 300)), "8"}
	for size := 1; size <= len(in); size++ {
		got, err := cut(webSocket{ws.OpText}, bytes.Clone(in), size, 1<<10)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("cut in pieces of %d: %v, diff %s", size, err, diff)
		}
	}
}

func TestVarintFraming(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		in   []byte
		want []string
		err  error
	}{
		{name: "two messages", in: []byte{1, 'a', 2, 'b', 'c'}, want: []string{"2a", "2bc"}},
		{name: "empty message", in: []byte{0, 1, 'a'}, want: []string{"2", "2a"}},
		{name: "incomplete", in: []byte{5, 'a'}},
		{name: "too long", in: []byte{0x80, 0x80, 0x04}, err: errTooLarge},
		{name: "length without end", in: []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}, err: errLength},
	}
	for _, tt := range tests {
		for size := 1; size <= len(tt.in); size++ {
			got, err := cut(varintTCP{}, bytes.Clone(tt.in), size, 1<<10)
			if !errors.Is(err, tt.err) || !cmp.Equal(got, tt.want) {
				t.Errorf("%s in pieces of %d = %q, %v; want %q, %v", tt.name, size, got, err, tt.want, tt.err)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 4 << 20} {
		want := ws.MustCompileFrame(ws.NewTextFrame(make([]byte, size)))
		if got := (webSocket{ws.OpText}).header(nil, ws.OpText, size); !bytes.Equal(got, want[:len(want)-size]) {
			t.Errorf("header(%d) = %x; want %x", size, got, want[:len(want)-size])
		}
		in := append(varintTCP{}.header(nil, ws.OpBinary, size), make([]byte, size)...)
		if _, n, err := (varintTCP{}).next(in, nil, 4<<20); n != len(in) || err != nil {
			t.Errorf("varint of %d bytes reads back as %d, %v; want all %d", size, n, err, len(in))
		}
	}
}

// FuzzFraming feeds any bytes to the framings: no panic, no memory beyond the limit, and the cut does not matter.
func FuzzFraming(f *testing.F) {
	f.Add(clientFrame(ws.OpText, true, `{"jsonrpc":"2.0","id":1,"method":"ping"}`), uint8(3))
	f.Add(append(clientFrame(ws.OpText, false, "a"), clientFrame(ws.OpContinuation, true, "b")...), uint8(1))
	f.Add(clientFrame(ws.OpClose, true, "\x03\xe8bye"), uint8(2))
	f.Add([]byte{0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}, uint8(5))
	f.Add([]byte{3, 'a', 'b', 'c', 0x80, 0x01}, uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		const limit = 1 << 10
		for _, fr := range []framing{webSocket{ws.OpText}, webSocket{ws.OpBinary}, varintTCP{}} {
			whole, err1 := cut(fr, bytes.Clone(in), max(len(in), 1), max(limit, len(in)))
			pieces, err2 := cut(fr, bytes.Clone(in), int(size)+1, max(limit, len(in)))
			if !cmp.Equal(whole, pieces) || !errors.Is(err2, err1) {
				t.Errorf("%T: whole %q, %v; in pieces %q, %v", fr, whole, err1, pieces, err2)
			}
			_, _ = cut(fr, bytes.Clone(in), int(size)+1, limit)
		}
	})
}

// The vectors that clients test their framing with are what the door does.
func TestVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../../api/vectors/tcp.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Stream string
		Limit, Rest  int
		Frames       []string
		Broken       bool
	}
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("%d cases, %v; want some", len(cases), err)
	}
	for _, tt := range cases {
		stream, err := hex.DecodeString(tt.Stream)
		if err != nil {
			t.Fatal(err)
		}
		for size := 1; size <= len(stream); size++ {
			units, err := cut(varintTCP{}, bytes.Clone(stream), size, tt.Limit)
			got := []string{}
			used := 0
			for _, u := range units {
				got = append(got, hex.EncodeToString([]byte(u[1:])))
				used += len(varintTCP{}.header(nil, ws.OpBinary, len(u)-1)) + len(u) - 1
			}
			if !cmp.Equal(got, tt.Frames) || (err != nil) != tt.Broken || !tt.Broken && len(stream)-used != tt.Rest {
				t.Errorf("%s in pieces of %d = %q, %d bytes left, %v; want %q, %d, broken %v", tt.Name, size, got, len(stream)-used, err, tt.Frames, tt.Rest, tt.Broken)
			}
		}
	}
}
