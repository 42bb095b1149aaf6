package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The back-off of the contract: a client that lost its connection waits a random time up to backoffUnit·2^n, at most
// backoffMost, before its attempt n.
const (
	backoffUnit = 500 * time.Millisecond
	backoffMost = 20 * time.Second
	probeEvery  = 100 * time.Millisecond
	causesMost  = 10 // kinds of failed attempts that are told apart
)

// stayRow says what became of connections that come back by themselves, as those of clients do, while somebody else
// breaks what they are connected to.
type stayRow struct {
	Connections int            `json:"connections"`
	Entering    time.Duration  `json:"enteringNs"` // until all were connected first
	Waves       []wave         `json:"waves"`
	Failed      map[string]int `json:"failedAttempts"` // by cause
	Missing     int            `json:"missing"`        // at the end
	// A message each 100 ms over REST, one under way at a time, as long as somebody is missing, and while nobody is.
	Sends       percentiles `json:"sends"`
	Quiet       percentiles `json:"quietSends"`
	SendsFailed int         `json:"sendsFailed"`
	QuietFailed int         `json:"quietSendsFailed"`
	Error       string      `json:"error,omitempty"`
}

// wave is the time from when the first connection of all was lost until all are back.
type wave struct {
	At     time.Duration `json:"atNs"` // from when all were connected first
	Lost   int           `json:"lost"`
	Took   time.Duration `json:"tookNs"` // negative: not all were back at the end
	Outage percentiles   `json:"outage"` // of each connection, from its loss to the answer of connect
}

// stayers are the connections and what is counted of them.
type stayers struct {
	*bench
	at doors

	mu      sync.Mutex // guards what follows
	begun   time.Time  // when all were connected first; set once, before anything reads it
	down    int
	since   time.Time // of the wave
	lost    int
	outages []time.Duration
	row     *stayRow
}

func (b *bench) stay(ctx context.Context) {
	row := &stayRow{Connections: b.stormConns, Failed: map[string]int{}}
	row.Error = b.report.fail("stay", b.at(ctx, b.syncs[0], b.stormConns, func(ctx context.Context, p place) error {
		return (&stayers{bench: b, at: p.doors, row: row}).run(ctx)
	}))
	b.report.Stay = row
}

func (s *stayers) run(ctx context.Context) error {
	b, row := s.bench, s.row
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	begun := time.Now()
	first := make([]*conn, b.stormConns)
	err := inParallel(ctx, dialing, len(first), func(ctx context.Context, i int) (err error) {
		if i%1000 == 999 {
			b.progress.say("stay: %d of %d connected", i+1, len(first))
		}
		first[i], err = dial(ctx, s.at.socket(i), b.wire, b.accounts.all[i], crowdBuffer)
		return err
	})
	row.Entering = time.Since(begun)
	s.mu.Lock()
	s.begun = time.Now()
	s.mu.Unlock()
	for i, c := range first {
		if c == nil {
			continue
		}
		if err != nil {
			c.close()
			continue
		}
		wg.Go(func() { s.live(ctx, i, c) })
	}
	if err != nil {
		return err
	}
	b.progress.say("stay: all %d connected, for %v", len(first), b.duration)
	s.probe(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if row.Missing = s.down; row.Missing > 0 {
		s.endWave(-1)
		return fmt.Errorf("%d of %d connections were not back at the end", row.Missing, row.Connections)
	}
	return nil
}

// live keeps connection i until ctx ends.
func (s *stayers) live(ctx context.Context, i int, c *conn) {
	for {
		closes := context.AfterFunc(ctx, c.close)
		var err error
		for err == nil {
			_, err = c.read()
		}
		closes()
		c.close()
		if ctx.Err() != nil {
			return
		}
		lost := time.Now()
		s.left(lost)
		if c = s.again(ctx, i); c == nil {
			return
		}
		s.back(time.Since(lost))
	}
}

// again connects, at another gateway with each attempt where there are several; nil when ctx ended.
func (s *stayers) again(ctx context.Context, i int) *conn {
	for try := 0; ; try++ {
		if pause(ctx, rand.N(min(backoffMost, backoffUnit<<min(try, 10)))) != nil { //nolint:gosec // to spread clients, no secret
			return nil
		}
		c, err := dial(ctx, s.at.socket(i+try), s.wire, s.accounts.all[i], crowdBuffer)
		if err == nil {
			return c
		}
		if ctx.Err() != nil {
			return nil
		}
		s.mu.Lock()
		if cause := causeOf(err); len(s.row.Failed) < causesMost || s.row.Failed[cause] > 0 {
			s.row.Failed[cause]++
		} else {
			s.row.Failed["others"]++
		}
		s.mu.Unlock()
	}
}

// causeOf names a failed attempt in few words.
func causeOf(err error) string {
	var no *refusal
	switch {
	case errors.As(err, &no):
		return no.reason
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection cut"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	text := err.Error()
	return text[strings.LastIndex(text, ": ")+1:]
}

func (s *stayers) left(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down == 0 {
		s.since, s.lost, s.outages = at, 0, nil
	}
	s.down++
	s.lost++
}

func (s *stayers) back(outage time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down--
	s.outages = append(s.outages, outage)
	if s.down == 0 {
		s.endWave(time.Since(s.since))
	}
}

// endWave is called with mu held.
func (s *stayers) endWave(took time.Duration) {
	w := wave{At: s.since.Sub(s.begun), Lost: s.lost, Took: took, Outage: percentilesOf(s.outages)}
	s.row.Waves = append(s.row.Waves, w)
	s.progress.say("stay: %d lost at %v, all back after %v", w.Lost, w.At.Round(time.Millisecond), took.Round(time.Millisecond))
}

// probe sends messages over REST for the duration.
func (s *stayers) probe(ctx context.Context) {
	h := pageClient(1)
	defer h.CloseIdleConnections()
	h.Timeout = 5 * time.Second
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	run := runName()
	var sends, quiet []time.Duration
	for n := 0; time.Since(s.begun) < s.duration; n++ {
		begun := time.Now()
		stormy := s.anyDown()
		err := s.sendOne(ctx, h, run+strconv.Itoa(n), n)
		took := time.Since(begun)
		switch stormy = stormy || s.anyDown(); {
		case ctx.Err() != nil:
			return
		case stormy && err != nil:
			s.row.SendsFailed++
		case stormy:
			sends = append(sends, took)
		case err != nil:
			s.row.QuietFailed++
		default:
			quiet = append(quiet, took)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
	s.row.Sends, s.row.Quiet = percentilesOf(sends), percentilesOf(quiet)
}

func (s *stayers) anyDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down > 0
}

// sendOne sends a message to oneself's neighbour.
func (s *stayers) sendOne(ctx context.Context, h *http.Client, id string, n int) error {
	from, to := s.accounts.all[n%len(s.accounts.all)], s.accounts.all[(n+1)%len(s.accounts.all)]
	body := fmt.Sprintf(`{"clientMsgId":%q,"toUserId":%q,"text":{"text":"x"}}`, id, to.UserID)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.at.rest(n)+"/messages", bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+from.AccessToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := h.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("send: %s, %w", resp.Status, err)
	}
	return nil
}

func (r *report) writeStay(s *strings.Builder) {
	if r.Stay == nil {
		return
	}
	row := r.Stay
	table(s, "connections that come back", "lost", "after, s", "all back after, s", "out p50 / p99 / max, ms")
	for _, w := range row.Waves {
		took := "not"
		if w.Took >= 0 {
			took = fmt.Sprintf("%.1f", w.Took.Seconds())
		}
		cells(s, thousands(row.Connections), thousands(w.Lost), fmt.Sprintf("%.1f", w.At.Seconds()), took, w.Outage.two()+" / "+ms(w.Outage.Max))
	}
	fmt.Fprintf(s, "\nAll were connected after %.1f s. Attempts that failed: %v. Sends over REST p50 / p99, ms: %s (%d failed) while some were missing, %s (%d failed) else.\n",
		row.Entering.Seconds(), row.Failed, row.Sends.two(), row.SendsFailed, row.Quiet.two(), row.QuietFailed)
}
