package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// The back-off of the contract: a client that lost its connection waits a random time up to backoffUnit·2^n, at most
// backoffMost, before its attempt n.
const (
	backoffUnit = 500 * time.Millisecond
	backoffMost = 20 * time.Second
	countEvery  = 2 * time.Second
	causesMost  = 10 // kinds of failed attempts that are told apart
)

// stayRow says what became of connections that come back by themselves, as those of clients do, while somebody else
// breaks what they are connected to.
type stayRow struct {
	Connections int            `json:"connections"`
	Entering    time.Duration  `json:"enteringNs"` // until all were connected first
	Waves       []wave         `json:"waves"`
	Failed      map[string]int `json:"failedAttempts"` // by cause
	Unadvised   int            `json:"failedAttemptsWithoutRetryAfter"`
	Missing     int            `json:"missing"`  // at the end
	Resyncs     int            `json:"resyncs"`  // connections that were told to begin anew
	Unsynced    int            `json:"unsynced"` // that were let in and could synchronise only later
	// A message each 100 ms over REST, one under way at a time, as long as somebody is missing, and while nobody is.
	Sends       percentiles `json:"sends"`
	Quiet       percentiles `json:"quietSends"`
	SendsFailed int         `json:"sendsFailed"`
	QuietFailed int         `json:"quietSendsFailed"`
	Account     stayAccount `json:"account"`
	Error       string      `json:"error,omitempty"`
}

// wave is the time from when the first connection of all was lost until all are back.
type wave struct {
	At     time.Duration `json:"atNs"` // from when all were connected first
	Lost   int           `json:"lost"`
	Took   time.Duration `json:"tookNs"` // negative: not all were back at the end
	Outage percentiles   `json:"outage"` // of each connection, from its loss until it is connected and in sync

	Database *databaseCost `json:"database,omitempty"`
}

// stayers are the connections and what is counted of them.
type stayers struct {
	*bench
	at    doors
	watch watch // of the servers' metrics; may be none

	seen []stayer       // by connection; of its goroutine, until all have ended
	wg   sync.WaitGroup // of all goroutines

	mu      sync.Mutex // guards what follows
	begun   time.Time  // when all were connected first; set once, before anything reads it
	down    int
	since   time.Time // of the wave
	lost    int
	outages []time.Duration
	counted databaseCount // the last time that nobody was missing
	row     *stayRow
}

func (b *bench) stay(ctx context.Context) {
	row := &stayRow{Connections: b.stormConns, Failed: map[string]int{}}
	row.Error = b.report.fail("stay", b.at(ctx, b.syncs[0], b.stormConns, func(ctx context.Context, p place) error {
		return (&stayers{bench: b, at: p.doors, watch: p.watched(), row: row}).run(ctx)
	}))
	b.report.Stay = row
}

func (s *stayers) run(ctx context.Context) error {
	b, row := s.bench, s.row
	living, stop := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer stop()
	begun := time.Now()
	s.seen = make([]stayer, b.stormConns)
	var entered atomic.Int64
	err := inParallel(ctx, dialing, b.stormConns, func(ctx context.Context, i int) error {
		c, err := s.connect(ctx, i, 0)
		if err != nil {
			return err
		}
		s.wg.Go(func() { s.live(living, i, c) }) // at once: who answers no ping is taken for dead
		if n := entered.Add(1); n%1000 == 0 {
			b.progress.say("stay: %d of %d connected", n, b.stormConns)
		}
		return nil
	})
	if err != nil {
		return err
	}
	row.Entering = time.Since(begun)
	s.mu.Lock()
	s.begun = time.Now()
	s.mu.Unlock()
	b.progress.say("stay: all %d connected, for %v", b.stormConns, b.duration)
	s.wg.Go(func() { s.count(living) })
	sent := s.probe(living)
	err = s.end()
	stop()
	s.wg.Wait()
	if ctx.Err() != nil {
		return err // who was interrupted has no account
	}
	return errors.Join(err, s.judge(ctx, sent))
}

// end notes who is missing.
func (s *stayers) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := s.row
	if row.Missing = s.down; row.Missing > 0 {
		s.endWave(-1)
		return fmt.Errorf("%d of %d connections were not back at the end", row.Missing, row.Connections)
	}
	return nil
}

func (s *stayers) tally(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

// live keeps connection i until ctx ends.
func (s *stayers) live(ctx context.Context, i int, c *conn) {
	for {
		closes := context.AfterFunc(ctx, c.close)
		var err error
		for err == nil {
			var frame []byte
			if frame, err = c.read(); err == nil {
				err = s.seen[i].hear(c, frame)
			}
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

// again connects, at another gateway with each attempt where there are several, and not before a refusal allows; nil when
// ctx ended.
func (s *stayers) again(ctx context.Context, i int) *conn {
	var floor time.Duration
	for try := 0; ; try++ {
		if pause(ctx, floor+rand.N(min(backoffMost, backoffUnit<<min(try, 10)))) != nil { //nolint:gosec // to spread clients, no secret
			return nil
		}
		c, err := s.connect(ctx, i, try)
		if err == nil {
			return c
		}
		if ctx.Err() != nil {
			return nil
		}
		floor = s.failed(err)
	}
}

// failed notes an attempt that failed, and returns how long the server asks to wait.
func (s *stayers) failed(err error) (floor time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var no *refusal
	if errors.As(err, &no) {
		floor = time.Duration(no.retryAfter) * time.Millisecond
		if floor == 0 {
			s.row.Unadvised++
		}
	}
	cause := causeOf(err)
	if len(s.row.Failed) >= causesMost && s.row.Failed[cause] == 0 {
		cause = "others"
	}
	s.row.Failed[cause]++
	return floor
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
		n, before := len(s.row.Waves)-1, s.counted
		s.wg.Go(func() { s.charge(n, before) })
	}
}

// count notes what the servers have counted while nobody is missing, so that a wave is charged for itself only.
func (s *stayers) count(ctx context.Context) {
	for {
		n := s.watch.database()
		s.mu.Lock()
		if s.down == 0 {
			s.counted = n
		}
		s.mu.Unlock()
		if pause(ctx, countEvery) != nil {
			return
		}
	}
}

// charge notes what wave n cost the database.
func (s *stayers) charge(n int, before databaseCount) {
	cost := s.watch.database().since(before)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.row.Waves[n].Database = cost
}

// endWave is called with mu held.
func (s *stayers) endWave(took time.Duration) {
	w := wave{Lost: s.lost, Took: took, Outage: percentilesOf(s.outages)}
	if !s.begun.IsZero() { // else some were lost while others came first
		w.At = s.since.Sub(s.begun)
	}
	s.row.Waves = append(s.row.Waves, w)
	s.progress.say("stay: %d lost at %v, all back after %v", w.Lost, w.At.Round(time.Millisecond), took.Round(time.Millisecond))
}

func (s *stayers) anyDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.down > 0
}

func (r *report) writeStay(s *strings.Builder) {
	if r.Stay == nil {
		return
	}
	row := r.Stay
	table(s, "connections that come back", "lost", "after, s", "all back after, s", "out p50 / p99 / max, ms", "calls to the database a connect (most)")
	for _, w := range row.Waves {
		took := "not"
		if w.Took >= 0 {
			took = fmt.Sprintf("%.1f", w.Took.Seconds())
		}
		cells(s, thousands(row.Connections), thousands(w.Lost), fmt.Sprintf("%.1f", w.At.Seconds()), took, w.Outage.two()+" / "+ms(w.Outage.Max), w.Database.String())
	}
	fmt.Fprintf(s, "\nAll were connected after %.1f s. Attempts that failed: %v (%d refused without retryAfterMs); let in before they could synchronise: %d; told to begin anew: %d. Sends over REST p50 / p99, ms: %s (%d failed) while some were missing, %s (%d failed) else.\n",
		row.Entering.Seconds(), row.Failed, row.Unadvised, row.Unsynced, row.Resyncs, row.Sends.two(), row.SendsFailed, row.Quiet.two(), row.QuietFailed)
	a := row.Account
	fmt.Fprintf(s, "Messages sent %d, acknowledged %d, stored %d of %d conversations; lost %d, doubled %d, at another place %d, holes %d, their receiver not told %d.\n",
		a.Sent, a.Acknowledged, a.Stored, a.Conversations, a.Lost, a.Doubled, a.Moved, a.Holes, a.Untold)
}
