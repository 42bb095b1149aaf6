package oceanchat

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	"github.com/oceanchat/oceanchat/sdk/go/internal/seqlog"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

// conv is what the client knows of one conversation. It is guarded by the client's mutex.
type conv struct {
	id         string
	info       *queryv1.Conversation // replaced, never changed: callers and store hold it
	told       bool                  // info came from the server, not only from an entry
	log        *seqlog.Log
	pulling    bool
	fetching   bool
	generation int       // raised when entries were taken back
	typed      time.Time // when the others were last told that the user writes
}

func newConv(id string, info *queryv1.Conversation, held store.Ranges) *conv {
	cv := &conv{id: id, info: info, told: info.GetKind() != 0, log: seqlog.New(held, info.GetHead().GetSeq())}
	cv.log.Told(info.GetHead().GetSeq(), nil)
	return cv
}

// conv returns a conversation, a new one if it is not known.
func (c *Client) conv(id string) *conv {
	cv := c.convs[id]
	if cv == nil {
		cv = newConv(id, &queryv1.Conversation{ConversationId: id}, nil)
		c.convs[id] = cv
	}
	return cv
}

// merge takes what the server says of the conversation. It may be older than what was applied since: then only cursors
// move, forward. If entries were taken back, the server's word stands.
func (cv *conv) merge(fresh *queryv1.Conversation, lost bool) {
	old := cv.info
	if lost || !cv.told && old.GetHead().GetSeq() <= fresh.GetHead().GetSeq() {
		cv.info, cv.told = fresh, true
		return
	}
	info := proto.CloneOf(fresh)
	if old.GetHead().GetSeq() > fresh.GetHead().GetSeq() {
		info.Head, info.LastEntry = old.GetHead(), old.GetLastEntry()
		info.Unread = unread(info)
		if info.MentionSeq == 0 {
			info.MentionSeq = old.GetMentionSeq()
		}
	}
	if old.GetRead().GetSeq() > fresh.GetRead().GetSeq() {
		info.Read = old.GetRead()
		info.Unread = unread(info)
	}
	info.PeerReadSeq = max(info.GetPeerReadSeq(), old.GetPeerReadSeq())
	if info.GetMentionSeq() <= info.GetRead().GetSeq() {
		info.MentionSeq = 0
	}
	cv.info, cv.told = info, true
}

// unread counts what raised the ordinal after the cursor. Own messages do not stand there: a send moves the cursor.
func unread(info *queryv1.Conversation) uint64 {
	head, read := info.GetHead().GetOrdinal(), info.GetRead().GetOrdinal()
	return max(head, read) - read
}

// applied takes one entry that was let through. Those up to the head are counted already.
func (cv *conv) applied(e *messagev1.Entry, me string) {
	if e.GetSeq() <= cv.info.GetHead().GetSeq() {
		return
	}
	info := proto.CloneOf(cv.info)
	raised := e.GetOrdinal() - min(info.GetHead().GetOrdinal(), e.GetOrdinal())
	info.Head = &queryv1.Head{Seq: e.GetSeq(), Ordinal: e.GetOrdinal(), SentAt: e.GetSentAt()}
	info.LastEntry = e
	switch {
	case e.GetSenderId() == me && e.GetKind() == messagev1.EntryKind_ENTRY_KIND_TEXT:
		info.Read, info.Unread, info.MentionSeq = &messagev1.Cursor{Seq: e.GetSeq(), Ordinal: e.GetOrdinal()}, 0, 0
	case e.GetSenderId() != me:
		info.Unread += raised
		if info.GetMentionSeq() == 0 && mentions(e, me) {
			info.MentionSeq = e.GetSeq()
		}
	}
	cv.info = info
}

func mentions(e *messagev1.Entry, user string) bool {
	for _, m := range e.GetText().GetMentions() {
		if m.GetUserId() == user {
			return true
		}
	}
	return false
}

// moveRead moves the cursor forward; it reports whether it moved.
func (cv *conv) moveRead(to *messagev1.Cursor) bool {
	if to.GetSeq() <= cv.info.GetRead().GetSeq() {
		return false
	}
	info := proto.CloneOf(cv.info)
	info.Read = to
	info.Unread = unread(info)
	if info.GetMentionSeq() <= to.GetSeq() {
		info.MentionSeq = 0
	}
	cv.info = info
	return true
}

// between returns the other user of a direct conversation of user's, or "".
func between(conversation, user string) string {
	ends, ok := strings.CutPrefix(conversation, "d~")
	a, b, two := strings.Cut(ends, "~")
	switch {
	case !ok || !two || user == "":
		return ""
	case a == user:
		return b
	case b == user:
		return a
	}
	return ""
}
