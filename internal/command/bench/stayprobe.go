package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	probeEvery = 100 * time.Millisecond
	probePage  = 100              // entries that are read back of a conversation
	probeRooms = 100              // conversations at least
	probeEnds  = 10 * time.Second // before the end, so that what was sent has arrived
)

// probed is a message that was sent over REST.
type probed struct {
	from, to     int // accounts
	id           string
	acknowledged bool
	seq          uint64
	messageID    string
}

// probe sends messages over REST for the duration, but for the end of it.
func (s *stayers) probe(ctx context.Context) (sent []probed) {
	h := pageClient(1)
	defer h.CloseIdleConnections()
	h.Timeout = 5 * time.Second
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	run := runName()
	rooms := max(probeRooms, int(s.duration/probeEvery)/(probePage/2)) // so that all of one are on one page
	var sends, quiet []time.Duration
	for n := 0; time.Since(s.begun) < s.duration; n++ {
		if time.Since(s.begun) < s.duration-min(probeEnds, s.duration/4) {
			m := probed{from: n % rooms % s.stormConns, to: (n%rooms + 1) % s.stormConns, id: run + strconv.Itoa(n)}
			begun := time.Now()
			stormy := s.anyDown()
			err := s.sendOne(ctx, h, n, &m)
			took := time.Since(begun)
			sent = append(sent, m)
			switch stormy = stormy || s.anyDown(); {
			case ctx.Err() != nil:
				return sent
			case stormy && err != nil:
				s.row.SendsFailed++
			case stormy:
				sends = append(sends, took)
			case err != nil:
				s.row.QuietFailed++
			default:
				quiet = append(quiet, took)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return sent
		}
	}
	s.row.Sends, s.row.Quiet = percentilesOf(sends), percentilesOf(quiet)
	return sent
}

// sendOne sends a message to oneself's neighbour.
func (s *stayers) sendOne(ctx context.Context, h *http.Client, n int, m *probed) error {
	body := fmt.Sprintf(`{"clientMsgId":%q,"toUserId":%q,"text":{"text":"x"}}`, m.id, s.accounts.all[m.to].UserID)
	var answer struct {
		Seq       uint64
		MessageID string `json:"messageId"`
	}
	err := ask(ctx, h, http.MethodPost, s.at.rest(n)+"/messages", s.accounts.all[m.from].AccessToken, []byte(body), &answer)
	m.acknowledged, m.seq, m.messageID = err == nil, answer.Seq, answer.MessageID
	return err
}

// ask makes a REST request and decodes its answer.
func ask(ctx context.Context, h *http.Client, method, at, token string, body []byte, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := h.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFrame))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %.200s", method, at, resp.Status, data)
	}
	return json.Unmarshal(data, into)
}

// stayAccount is what became of the messages.
type stayAccount struct {
	Sent          int `json:"sent"`
	Acknowledged  int `json:"acknowledged"`
	Conversations int `json:"conversations"`
	Stored        int `json:"stored"`
	Lost          int `json:"lost"`    // acknowledged and not stored
	Doubled       int `json:"doubled"` // stored more than once
	Moved         int `json:"moved"`   // stored with another seq or id than was acknowledged
	Holes         int `json:"holes"`   // seqs that are missing
	// Untold were acknowledged, and their receiver's connection neither got them nor was told by a synchronisation that
	// they are there.
	Untold int `json:"untold"`
}

// probedEntry is one of a page of history.
type probedEntry struct {
	Seq         uint64
	MessageID   string `json:"messageId"`
	ClientMsgID string `json:"clientMsgId"`
}

// judge compares what was acknowledged with what is stored and what the receivers know. All connections have ended.
func (s *stayers) judge(ctx context.Context, sent []probed) error {
	h := pageClient(1)
	defer h.CloseIdleConnections()
	rooms := map[string][]probed{}
	for _, m := range sent {
		room := direct(s.accounts.all[m.from].UserID, s.accounts.all[m.to].UserID)
		rooms[room] = append(rooms[room], m)
	}
	a := &s.row.Account
	a.Conversations = len(rooms)
	for room, of := range rooms {
		var page struct{ Entries []probedEntry }
		at := fmt.Sprintf("%s/conversations/%s/messages?limit=%d", s.at.rest(0), room, probePage)
		if err := ask(ctx, h, http.MethodGet, at, s.accounts.all[of[0].from].AccessToken, nil, &page); err != nil {
			return fmt.Errorf("read what is stored: %w", err)
		}
		a.add(room, of, page.Entries, s.seen)
	}
	if a.Lost+a.Doubled+a.Moved+a.Holes+a.Untold > 0 {
		return fmt.Errorf("of %d acknowledged messages %d are lost, %d doubled, %d at another place, with %d holes; %d receivers were not told", a.Acknowledged, a.Lost, a.Doubled, a.Moved, a.Holes, a.Untold)
	}
	return nil
}

// add judges one conversation by the newest entries of it, in order.
func (a *stayAccount) add(room string, sent []probed, stored []probedEntry, seen []stayer) {
	byID := map[string][]probedEntry{}
	for i, e := range stored {
		byID[e.ClientMsgID] = append(byID[e.ClientMsgID], e)
		if i > 0 && e.Seq != stored[i-1].Seq+1 {
			a.Holes++
		}
	}
	for _, m := range sent {
		got := byID[m.id]
		a.Sent++
		a.Stored += min(len(got), 1)
		a.Doubled += max(len(got)-1, 0)
		if !m.acknowledged {
			continue
		}
		a.Acknowledged++
		switch {
		case len(got) == 0:
			a.Lost++
		case got[0].Seq != m.seq || got[0].MessageID != m.messageID:
			a.Moved++
		}
		if to := seen[m.to]; !to.pushed[m.id] && to.heads[room] < m.seq {
			a.Untold++
		}
	}
}
