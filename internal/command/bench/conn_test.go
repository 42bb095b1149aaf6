package bench

import (
	"bufio"
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// What appendFrame makes is read back by code that is not ours.
func TestAppendFrame(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		want := strings.Repeat("x", size)
		got, op, err := wsutil.ReadClientData(struct {
			*bytes.Buffer
		}{bytes.NewBuffer(appendFrame(nil, ws.OpText, []byte(want)))})
		if err != nil || op != ws.OpText || string(got) != want {
			t.Errorf("a frame of %d bytes reads back as %d bytes, type %d, %v", size, len(got), op, err)
		}
	}
}

func TestFrame(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 125, 126, 5000, 65536} {
		var wire bytes.Buffer
		want := strings.Repeat("y", size)
		for range 2 {
			if err := wsutil.WriteServerText(&wire, []byte(want)); err != nil {
				t.Fatal(err)
			}
		}
		c := &conn{br: bufio.NewReaderSize(&wire, 512)}
		for range 2 {
			op, got, err := c.take()
			if err != nil || op != ws.OpText || string(got) != want {
				t.Errorf("take() of %d bytes = %d bytes, type %d, %v", size, len(got), op, err)
			}
		}
	}
}

func TestFrameRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		wire []byte
	}{
		{"masked", appendFrame(nil, ws.OpText, []byte("x"))},
		{"in fragments", []byte{0x01, 0x01, 'x'}},
		{"too long", []byte{0x81, 127, 0, 0, 0, 0, 0, 0x50, 0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := &conn{br: bufio.NewReaderSize(bytes.NewReader(tt.wire), 512)}
			if _, _, err := c.take(); !errors.Is(err, errFrame) {
				t.Errorf("take() error = %v; want %v", err, errFrame)
			}
		})
	}
}
