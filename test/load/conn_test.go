package main

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
			op, got, err := c.frame()
			if err != nil || op != ws.OpText || string(got) != want {
				t.Errorf("frame() of %d bytes = %d bytes, type %d, %v", size, len(got), op, err)
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
			if _, _, err := c.frame(); !errors.Is(err, errFrame) {
				t.Errorf("frame() error = %v; want %v", err, errFrame)
			}
		})
	}
}

func TestAfter(t *testing.T) {
	t.Parallel()
	data := []byte(`{"seq":42,"id":"a1","open":"`)
	if n, ok := numberAfter(data, `"seq":`); n != 42 || !ok {
		t.Errorf("numberAfter(seq) = %d, %t; want 42, true", n, ok)
	}
	if _, ok := numberAfter(data, `"id":`); ok {
		t.Error("numberAfter of a string = true; want false")
	}
	if _, ok := numberAfter(data, `"none":`); ok {
		t.Error("numberAfter of what is not there = true; want false")
	}
	for key, want := range map[string]string{`"id":"`: "a1", `"none":"`: "", `"open":"`: ""} {
		if got := stringAfter(data, key); got != want {
			t.Errorf("stringAfter(%s) = %q; want %q", key, got, want)
		}
	}
}
