package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	latest     = 50 // entries of a page
	fillRate   = 1000
	maxReading = 64 // requests at a time; who finds them all at work waits, which counts
)

// historyRow says how long the latest page of a conversation takes over REST.
type historyRow struct {
	Disk     percentiles `json:"disk"`
	Messages int         `json:"messagesPerConversation"` // that were sent before
	Rate     int         `json:"rate"`
	First    percentiles `json:"first"` // the first read of each conversation after a start of a server of our own, one at a time
	Again    percentiles `json:"again"` // at Rate, from when each was due
	Limited  int         `json:"rateLimited"`
	StandIn  bool        `json:"standIn"` // what is stored was not read from MongoDB but from its stand-in
	CPU      float64     `json:"serverCpuUsPerRead"`
	Error    string      `json:"error,omitempty"`
}

func (b *bench) history(ctx context.Context) {
	row := &historyRow{Rate: b.readRate}
	measure := b.historyElsewhere
	if b.own() {
		measure = b.historyHere
	}
	row.Error = b.report.fail("history", measure(ctx, row))
	b.report.History = row
}

// historyHere fills a directory, starts anew, and reads.
func (b *bench) historyHere(ctx context.Context, row *historyRow) error {
	dir, messages, err := b.filled(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	row.Messages = messages / b.pairCount
	if row.Disk, err = probe(b.work); err != nil {
		return err
	}
	return b.serve(ctx, dir, b.syncs[0], func(ctx context.Context, p place) error {
		b.progress.say("history: first reads after a start")
		took, err := b.readEach(ctx, p)
		if err != nil {
			return err
		}
		row.First = percentilesOf(took)
		return b.readWatched(ctx, p, row)
	})
}

// readWatched reads pages, and takes what the server or the cluster needs for it.
func (b *bench) readWatched(ctx context.Context, p place, row *historyRow) error {
	w := p.watched()
	if w == nil {
		return b.readPages(ctx, p, row)
	}
	before, err := w.cpu()
	if err != nil {
		return err
	}
	if err := b.readPages(ctx, p, row); err != nil {
		return err
	}
	after, err := w.cpu()
	row.CPU = perUnit(after-before, b.reads)
	return err
}

// historyElsewhere sends what is to be read, and reads.
func (b *bench) historyElsewhere(ctx context.Context, row *historyRow) error {
	return b.at(ctx, "", 2*b.pairCount, func(ctx context.Context, p place) error {
		messages, err := b.fill(ctx, p)
		if err != nil {
			return err
		}
		row.Messages = messages / b.pairCount
		row.StandIn = b.cluster != nil && b.cluster.Mongo == standIn
		return b.readWatched(ctx, p, row)
	})
}

// filled returns a data directory with messages in every pair's conversation, of a server that has ended.
func (b *bench) filled(ctx context.Context) (dir string, messages int, err error) {
	if dir, err = b.fresh(b.seeded); err != nil {
		return "", 0, err
	}
	err = b.serve(ctx, dir, b.syncs[0], func(ctx context.Context, p place) (err error) {
		messages, err = b.fill(ctx, p)
		return err
	})
	return dir, messages, err
}

// fill sends twice as many messages as a page has to each conversation.
func (b *bench) fill(ctx context.Context, p place) (messages int, err error) {
	b.progress.say("filling %d conversations", b.pairCount)
	rooms, err := b.pairRooms(ctx, p)
	if err != nil {
		return 0, err
	}
	row := messageRow{Rate: fillRate}
	took := time.Duration(2*latest*b.pairCount) * time.Second / fillRate
	if err := b.drive(ctx, p, run{rate: fillRate, duration: took, rooms: rooms, row: &row}); err != nil {
		return 0, fmt.Errorf("fill conversations: %w", err)
	}
	return row.Balance.Acked, nil
}

// readEach reads the latest page of each conversation once, one after the other.
func (b *bench) readEach(ctx context.Context, p place) ([]time.Duration, error) {
	h := pageClient(1)
	defer h.CloseIdleConnections()
	var took []time.Duration
	for pair := range b.pairCount {
		at := time.Now()
		if limited, err := b.readPage(ctx, h, p.rest(pair), pair); err != nil || limited {
			return nil, fmt.Errorf("read history (rate limited: %t): %w", limited, err)
		}
		took = append(took, time.Since(at))
	}
	return took, nil
}

// readPages reads pages at the rate that was asked for: read i is due at i/rate.
func (b *bench) readPages(ctx context.Context, p place, row *historyRow) error {
	b.progress.say("history: %d pages, %d a second", b.reads, b.readRate)
	h := pageClient(maxReading)
	defer h.CloseIdleConnections()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	took := make([]time.Duration, b.reads)
	due := make(chan int, b.reads)
	var limited atomic.Int64
	var wg sync.WaitGroup
	gap := time.Second / time.Duration(b.readRate)
	begun := time.Now()
	for range maxReading {
		wg.Go(func() {
			for i := range due {
				if ctx.Err() != nil {
					continue
				}
				no, err := b.readPage(ctx, h, p.rest(i), i%b.pairCount)
				if err != nil {
					cancel(err)
				}
				if no {
					limited.Add(1)
				}
				took[i] = time.Since(begun) - time.Duration(i)*gap
			}
		})
	}
	for i := 0; i < b.reads && ctx.Err() == nil; i++ {
		at := time.Duration(i) * gap
		for now := time.Since(begun); now < at && ctx.Err() == nil; now = time.Since(begun) {
			nap(min(at-now, 50*time.Millisecond))
		}
		due <- i
	}
	close(due)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	row.Again, row.Limited = percentilesOf(took), int(limited.Load())
	if row.Limited > 0 {
		return fmt.Errorf("%d of %d reads were refused as RATE_LIMITED: --read-rate asks for more than the server gives %d users", row.Limited, b.reads, b.pairCount)
	}
	return nil
}

func pageClient(conns int) *http.Client {
	return &http.Client{Timeout: callTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns}}
}

// readPage reads the latest page of a pair's conversation.
func (b *bench) readPage(ctx context.Context, h *http.Client, base string, pair int) (limited bool, err error) {
	a, other := b.accounts.all[2*pair], b.accounts.all[2*pair+1]
	at := fmt.Sprintf("%s/conversations/%s/messages?limit=%d", base, direct(a.UserID, other.UserID), latest)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Authorization", "Bearer "+a.AccessToken)
	resp, err := h.Do(req)
	if err != nil {
		return false, fmt.Errorf("read history: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFrame))
	if err != nil {
		return false, fmt.Errorf("read history: %w", err)
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		return true, nil
	}
	var page struct{ Entries []struct{ Seq uint64 } }
	if err := json.Unmarshal(data, &page); err != nil || resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("read history: %s: %.200s", resp.Status, data)
	}
	if len(page.Entries) != latest {
		return false, fmt.Errorf("a page of history has %d entries; want %d", len(page.Entries), latest)
	}
	return false, nil
}
