package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/test/client"
	"github.com/oceanchat/oceanchat/test/history"
)

const lookEvery = 20 * time.Millisecond

// Until waits until cond holds, or says who does not get there.
func (f *Fleet) Until(ctx context.Context, what string, cond func(b *Boat) bool) error {
	for {
		i := slices.IndexFunc(f.Boats, func(b *Boat) bool { return !cond(b) })
		if i < 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			b := f.Boats[i]
			return fmt.Errorf("%s: %s is not: %+v, %d in the outbox, has %v", what, b.User.Username, b.State(), len(b.Outbox()), b.got())
		case <-time.After(lookEvery):
		}
	}
}

func (b *Boat) got() map[string]uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.heads)
}

// Online reports whether the client is.
func (b *Boat) Online() bool { return b.State().Phase == oceanchat.Online }

// InSync waits until every client is online and has all of its conversations up to heads.
func (f *Fleet) InSync(ctx context.Context, heads map[string]uint64) error {
	err := f.Until(ctx, "in sync", func(b *Boat) bool { return b.Online() && len(b.lacks(heads)) == 0 })
	if err == nil {
		return nil
	}
	for _, b := range f.Boats {
		if lacks := b.lacks(heads); len(lacks) > 0 {
			err = fmt.Errorf("%w; %s lacks %s; it knows of %v", err, b.User.Username, strings.Join(lacks, ", "), b.knows())
		}
	}
	return err
}

// knows returns how far conversations go as the client has heard, whether or not it has got all of it.
func (b *Boat) knows() map[string]uint64 {
	heads := map[string]uint64{}
	for _, c := range b.Conversations() {
		heads[c.GetConversationId()] = c.GetHead().GetSeq()
	}
	return heads
}

// lacks tells what the client has not got of its conversations, each as "id: 5 of 7".
func (b *Boat) lacks(heads map[string]uint64) (list []string) {
	for _, id := range slices.Sorted(maps.Keys(heads)) {
		if takesPart(b.User.ID, id) && !b.Has(id, heads[id]) {
			list = append(list, fmt.Sprintf("%s: %d of %d", id, b.got()[id], heads[id]))
		}
	}
	return list
}

// Settle waits until everything that was said is sent. Nobody may talk meanwhile.
func (f *Fleet) Settle(ctx context.Context) error {
	if err := f.Until(ctx, "all is sent", func(b *Boat) bool { return len(b.Outbox()) == 0 }); err != nil {
		return err
	}
	for _, b := range f.Boats {
		b.waits.Wait()
	}
	return nil
}

// Judge waits until everything is sent and received, reads the logs as a user does, and returns everything that is wrong.
// Nobody may talk meanwhile. It may be called again after more talk.
func (f *Fleet) Judge(ctx context.Context) (wrong []string, err error) {
	if err := f.Settle(ctx); err != nil {
		return nil, err
	}
	logs, err := f.logs(ctx)
	if err != nil {
		return nil, err
	}
	total, ends := 0, map[string]uint64{}
	for id, log := range logs {
		f.Check.Log(id, log)
		total += len(log)
		ends[id] = uint64(len(log))
	}
	if f.o.Loses {
		f.forgive(logs)
		f.sameView(ctx, logs)
	} else if err := f.sameLogs(ctx, ends, total); err != nil {
		return nil, err
	}
	f.mu.Lock()
	wrong = f.wrong
	f.wrong = nil
	f.mu.Unlock()
	return append(wrong, f.Check.Violations()...), nil
}

// sameLogs finds who has not exactly what the logs hold, when everyone has had the time to get it.
func (f *Fleet) sameLogs(ctx context.Context, ends map[string]uint64, total int) error {
	if err := f.InSync(ctx, ends); err != nil {
		return err
	}
	for _, b := range f.Boats {
		for id, head := range b.got() {
			if end, ok := ends[id]; ok && head != end {
				f.say("%s received %s up to %d; the log ends at %d", b.User.Username, id, head, end)
			}
		}
	}
	if acked := f.Check.AckedCount(); total != acked+1 { // and the notice of the group's creation
		f.say("the logs hold %d entries; want the %d acknowledged ones and one notice", total, acked)
	}
	return nil
}

// logs reads all conversations from their start.
func (f *Fleet) logs(ctx context.Context) (map[string][]history.Entry, error) {
	logs := map[string][]history.Entry{}
	for i, b := range f.Boats {
		if err := b.User.Login(ctx); err != nil {
			return nil, fmt.Errorf("%s logs in: %w", b.User.Username, err)
		}
		id := Direct(b.User.ID, f.Boats[(i+1)%len(f.Boats)].User.ID)
		log, err := Log(ctx, b.User, id) // empty if nobody has written yet
		if err != nil {
			return nil, err
		}
		logs[id] = log
	}
	id := "g~" + f.Group
	log, err := Log(ctx, f.Boats[0].User, id)
	logs[id] = log
	return logs, err
}

// Seen is an entry as the checker wants it.
func Seen(e client.Entry) history.Entry {
	return history.Entry{Conversation: e.ConversationID, Seq: e.Seq, MessageID: e.MessageID, ClientMsgID: e.ClientMsgID, Sender: e.SenderID}
}

// Log reads a conversation from its start to its end, as u sees it.
func Log(ctx context.Context, u *client.User, conversation string) ([]history.Entry, error) {
	var out []history.Entry
	for after, more := uint64(0), true; more; {
		var page struct {
			Entries []client.Entry
			ToSeq   uint64
			HasMore bool
		}
		path := fmt.Sprintf("/conversations/%s/entries?afterSeq=%d&limit=100", conversation, after)
		if err := u.Do(ctx, "GET", path, nil, &page); err != nil {
			return nil, fmt.Errorf("read %s after %d: %w", conversation, after, err)
		}
		for _, e := range page.Entries {
			out = append(out, Seen(e))
		}
		more, after = page.HasMore, page.ToSeq
	}
	return out, nil
}

// Close ends all clients. It may be called again.
func (f *Fleet) Close() error {
	var errs []error
	for _, b := range f.Boats {
		b.Moor()
		if b.file != nil {
			errs = append(errs, b.file.Close())
			b.file = nil
		}
	}
	return errors.Join(errs...)
}
