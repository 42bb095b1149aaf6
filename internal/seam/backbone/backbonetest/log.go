package backbonetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

func text(seq uint64) []byte { return strconv.AppendUint(nil, seq, 10) }

// seqs lists from..to.
func seqs(from, to uint64) []uint64 {
	var s []uint64
	for ; from <= to; from++ {
		s = append(s, from)
	}
	return s
}

func read(t *testing.T, l backbone.Log, from, to uint64) []uint64 {
	t.Helper()
	var got []uint64
	err := l.Read(t.Context(), from, to, func(m backbone.Message) error {
		if !bytes.Equal(m.Data, text(m.Seq)) {
			return fmt.Errorf("message %d holds %q", m.Seq, m.Data)
		}
		got = append(got, m.Seq)
		return nil
	})
	if err != nil {
		t.Fatalf("Read(%d, %d) = %v; want nil", from, to, err)
	}
	return got
}

func testLog(t *testing.T, open Opener) {
	tests := []struct {
		name string
		run  func(*testing.T, backbone.Log)
	}{
		{"new log is empty", testNew},
		{"append and get", testAppendGet},
		{"conflict stores nothing", testConflict},
		{"racing appenders", testRace},
		{"too long is refused", testTooLong},
		{"read a range", testRead},
		{"purge", testPurge},
		{"purge while reading", testPurgeReading},
		{"sequence at a time", testSeqAt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, _ := open(t, t.TempDir())
			tt.run(t, openLog(t, b))
		})
	}
	t.Run("full, purged, open again", func(t *testing.T) { testFull(t, open) })
	t.Run("reopen", func(t *testing.T) { testReopen(t, open) })
	t.Run("partitions are apart", func(t *testing.T) { testPartitions(t, open) })
}

func testNew(t *testing.T, l backbone.Log) {
	i := info(t, l)
	if i.Incarnation == "" || i.First != 1 || i.Last != 0 || i.MaxBytes == 0 {
		t.Errorf("Info = %+v; want an incarnation, First 1, Last 0, a limit", i)
	}
	_, err := l.Get(t.Context(), 1)
	wantErr(t, "Get(1)", err, backbone.ErrNotFound)
	_, err = l.Get(t.Context(), 0)
	wantErr(t, "Get(0)", err, backbone.ErrNotFound)
	if got := read(t, l, 0, math.MaxUint64); got != nil {
		t.Errorf("Read = %v; want nothing", got)
	}
	if seq, err := l.SeqAt(t.Context(), time.Time{}); seq != 1 || err != nil {
		t.Errorf("SeqAt = %d, %v; want 1, nil", seq, err)
	}
	if f, err := l.Floor(t.Context(), "nobody"); f != 0 || err != nil {
		t.Errorf("Floor = %d, %v; want 0, nil", f, err)
	}
}

func testAppendGet(t *testing.T, l backbone.Log) {
	before := time.Now().Add(-time.Minute)
	fill(t, l, 0, 3)
	m, err := l.Get(t.Context(), 2)
	if err != nil || m.Seq != 2 || string(m.Data) != "2" || m.Time.Before(before) {
		t.Errorf("Get(2) = %+v, %v; want message 2 of now", m, err)
	}
	if i := info(t, l); i.First != 1 || i.Last != 3 || i.Bytes == 0 {
		t.Errorf("Info = %+v; want 1 to 3", i)
	}
}

func testConflict(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 2)
	for _, expect := range []uint64{0, 1, 3, 100} {
		_, err := l.Append(t.Context(), []byte("late"), expect)
		wantErr(t, fmt.Sprintf("Append(expect %d)", expect), err, backbone.ErrConflict)
	}
	if i := info(t, l); i.Last != 2 {
		t.Errorf("Last = %d after conflicts; want 2", i.Last)
	}
}

func testRace(t *testing.T, l backbone.Log) {
	const writers, each = 4, 10
	var won atomic.Int64
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			expect := uint64(0)
			for n := 0; n < each; {
				seq, err := l.Append(t.Context(), text(expect+1), expect)
				switch {
				case err == nil && seq == expect+1:
					won.Add(1)
					n++
					expect = seq
				case errors.Is(err, backbone.ErrConflict):
					expect++
				default:
					t.Errorf("Append(expect %d) = %d, %v; want the next or a conflict", expect, seq, err)
					return
				}
				if i, err := l.Info(t.Context()); err == nil {
					expect = i.Last
				}
			}
		})
	}
	wg.Wait()
	if got := info(t, l).Last; got != writers*each || won.Load() != writers*each {
		t.Fatalf("Last = %d, acknowledged %d; want %d each", got, won.Load(), writers*each)
	}
	if diff := cmp.Diff(seqs(1, writers*each), read(t, l, 1, math.MaxUint64)); diff != "" {
		t.Errorf("Read differs (-want +got):\n%s", diff)
	}
}

func testTooLong(t *testing.T, l backbone.Log) {
	_, err := l.Append(t.Context(), make([]byte, backbone.MaxData+1), 0)
	wantErr(t, "Append(too long)", err, backbone.ErrRefused)
	if seq, err := l.Append(t.Context(), make([]byte, backbone.MaxData), 0); seq != 1 || err != nil {
		t.Errorf("Append(longest) = %d, %v; want 1, nil", seq, err)
	}
}

func testRead(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 200)
	tests := []struct {
		from, to uint64
		want     []uint64
	}{
		{0, math.MaxUint64, seqs(1, 200)},
		{1, 1, seqs(1, 1)},
		{70, 140, seqs(70, 140)},
		{200, 300, seqs(200, 200)},
		{201, 300, nil},
		{5, 4, nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, read(t, l, tt.from, tt.to)); diff != "" {
			t.Errorf("Read(%d, %d) differs (-want +got):\n%s", tt.from, tt.to, diff)
		}
	}
	stop, n := errors.New("stop"), 0
	err := l.Read(t.Context(), 1, 200, func(backbone.Message) error {
		if n++; n == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 3 {
		t.Errorf("Read with an error at the third = %v after %d; want it after 3", err, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Read(ctx, 1, 200, func(backbone.Message) error { return nil }); err == nil {
		t.Error("Read with an ended context = nil; want an error")
	}
}

func testPurge(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 10)
	for _, upTo := range []uint64{0, 4, 2} { // 2 is gone already
		if err := l.Purge(t.Context(), upTo); err != nil {
			t.Fatalf("Purge(%d) = %v", upTo, err)
		}
	}
	if i := info(t, l); i.First != 5 || i.Last != 10 {
		t.Errorf("Info = %+v; want 5 to 10", i)
	}
	_, err := l.Get(t.Context(), 4)
	wantErr(t, "Get(4)", err, backbone.ErrNotFound)
	if diff := cmp.Diff(seqs(5, 10), read(t, l, 1, 20)); diff != "" {
		t.Errorf("Read differs (-want +got):\n%s", diff)
	}
	if seq, err := l.SeqAt(t.Context(), time.Time{}); seq != 5 || err != nil {
		t.Errorf("SeqAt(0) = %d, %v; want 5, nil", seq, err)
	}
	if err := l.Purge(t.Context(), 10); err != nil {
		t.Fatalf("Purge(10) = %v", err)
	}
	if i := info(t, l); i.First != 11 || i.Last != 10 {
		t.Errorf("Info of an emptied log = %+v; want First 11, Last 10", i)
	}
	fill(t, l, 10, 1)
	if err := l.Purge(t.Context(), 500); err != nil {
		t.Fatalf("Purge(500) = %v", err)
	}
	if i := info(t, l); i.First != 501 || i.Last != 500 {
		t.Errorf("Info of a log purged beyond its end = %+v; want First 501, Last 500", i)
	}
	_, err = l.Append(t.Context(), []byte("x"), 11)
	wantErr(t, "Append behind the old end", err, backbone.ErrConflict)
	fill(t, l, 500, 2)
}

func testPurgeReading(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 200)
	last, purged := uint64(0), false
	err := l.Read(t.Context(), 1, 200, func(m backbone.Message) error {
		if m.Seq != last+1 && m.Seq < 190 {
			return fmt.Errorf("%d follows %d", m.Seq, last)
		}
		last = m.Seq
		if purged {
			return nil
		}
		purged = true
		return l.Purge(t.Context(), 190)
	})
	if err != nil || last != 200 {
		t.Errorf("Read while purged = %v, last %d; want nil, 200", err, last)
	}
}

func testSeqAt(t *testing.T, l backbone.Log) {
	fill(t, l, 0, 20)
	for _, seq := range []uint64{1, 7, 20} {
		m, err := l.Get(t.Context(), seq)
		if err != nil {
			t.Fatalf("Get(%d) = %v", seq, err)
		}
		if got, err := l.SeqAt(t.Context(), m.Time); got != seq || err != nil {
			t.Errorf("SeqAt(time of %d) = %d, %v; want %d, nil", seq, got, err, seq)
		}
		if got, err := l.SeqAt(t.Context(), m.Time.Add(1)); got != seq+1 || err != nil {
			t.Errorf("SeqAt(just after %d) = %d, %v; want %d, nil", seq, got, err, seq+1)
		}
	}
}

func testFull(t *testing.T, open Opener) {
	b, _ := open(t, t.TempDir())
	l := openLog(t, b)
	if err := b.Writable(t.Context()); err != nil {
		t.Fatalf("Writable = %v; want nil", err)
	}
	big, last := make([]byte, 1<<19), uint64(0)
	var err error
	for range 200 {
		if _, err = l.Append(t.Context(), big, last); err != nil {
			break
		}
		last++
	}
	wantErr(t, "Append to a full log", err, backbone.ErrFull)
	if got := info(t, l); got.Last != last || got.First != 1 {
		t.Errorf("Info = %+v; want 1 to %d: nothing stored, nothing deleted", got, last)
	}
	wantErr(t, "Writable of a full log", b.Writable(t.Context()), backbone.ErrFull)
	if err := l.Purge(t.Context(), last/2); err != nil {
		t.Fatalf("Purge = %v", err)
	}
	if seq, err := l.Append(t.Context(), big, last); seq != last+1 || err != nil {
		t.Errorf("Append after the purge = %d, %v; want %d, nil", seq, err, last+1)
	}
	if err := b.Writable(t.Context()); err != nil {
		t.Errorf("Writable after the purge = %v; want nil", err)
	}
}

func testReopen(t *testing.T, open Opener) {
	dir := t.TempDir()
	b, stop := open(t, dir)
	l := openLog(t, b)
	fill(t, l, 0, 20)
	if err := l.Purge(t.Context(), 5); err != nil {
		t.Fatalf("Purge = %v", err)
	}
	was := info(t, l)
	stop()
	b, _ = open(t, dir)
	l = openLog(t, b)
	if diff := cmp.Diff(was, info(t, l)); diff != "" {
		t.Errorf("Info after reopening differs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(seqs(6, 20), read(t, l, 1, 20)); diff != "" {
		t.Errorf("Read differs (-want +got):\n%s", diff)
	}
	fill(t, l, 20, 1)
}

func testPartitions(t *testing.T, open Opener) {
	b, _ := open(t, t.TempDir())
	fill(t, openLog(t, b), 0, 3)
	other, err := b.Log(t.Context(), 1)
	if err != nil {
		t.Fatalf("Log(1) = %v", err)
	}
	if i := info(t, other); i.Last != 0 || i.Incarnation == info(t, openLog(t, b)).Incarnation {
		t.Errorf("Info of another partition = %+v; want empty, an incarnation of its own", i)
	}
	if _, err := b.Log(t.Context(), -1); err == nil {
		t.Error("Log(-1) = nil; want an error")
	}
}
