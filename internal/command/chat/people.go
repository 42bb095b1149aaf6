package chat

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
)

const (
	nameTimeout = 5 * time.Second
	maxNames    = 10_000
)

// people knows what users are called: by their usernames, which nobody else can have, not by what they call themselves.
// Everything that it returns may be printed.
type people struct {
	c     *oceanchat.Client
	me    string     // what the user is called
	mu    sync.Mutex // guards names
	names map[string]string
}

// name returns a user's name; the id while the server can not be asked.
func (p *people) name(ctx context.Context, id string) string {
	p.mu.Lock()
	known := p.names[id]
	p.mu.Unlock()
	switch {
	case known != "" || id == "":
		return known
	case id == p.c.UserID() && p.me != "":
		return p.me
	case p.c.State().Phase == oceanchat.Waiting: // nobody to ask
		return name(id)
	}
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	r, err := p.c.Users().Get(ctx, &userv1.GetRequest{UserId: id})
	if err != nil || r.GetUser().GetUsername() == "" {
		return name(id)
	}
	return p.learn(r.GetUser())
}

// learn remembers a user.
func (p *people) learn(u *userv1.User) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.names) >= maxNames {
		clear(p.names)
	}
	p.names[u.GetUserId()] = name(u.GetUsername())
	return p.names[u.GetUserId()]
}

// title returns what a conversation is called.
func (p *people) title(ctx context.Context, info *queryv1.Conversation) string {
	id := info.GetConversationId()
	switch {
	case info.GetPeer().GetUsername() != "":
		return p.learn(info.GetPeer())
	case strings.HasPrefix(id, "i~"):
		return "inbox"
	case strings.HasPrefix(id, "d~"):
		for _, end := range strings.Split(id, "~")[1:] {
			if end != p.c.UserID() {
				return p.name(ctx, end)
			}
		}
	case info.GetTitle() != "":
		return "#" + name(info.GetTitle())
	}
	return name(id)
}

// line returns an entry as it is shown, or "" for one that is not.
func (p *people) line(ctx context.Context, e *messagev1.Entry) string {
	at := e.GetSentAt().AsTime().Local().Format("15:04")
	if sent := e.GetSentAt().AsTime(); time.Since(sent) > 20*time.Hour {
		at = sent.Local().Format("2006-01-02 15:04")
	}
	who := p.name(ctx, e.GetSenderId())
	switch {
	case e.GetRecalled():
		return fmt.Sprintf("%s %s took a message back", at, who)
	case e.GetText() != nil:
		edited := ""
		if e.GetEditedAt() != nil {
			edited = " (edited)"
		}
		return fmt.Sprintf("%s %s: %s%s", at, who, plain(e.GetText().GetText()), edited)
	}
	if what := p.event(ctx, e); what != "" {
		return at + " * " + what
	}
	return ""
}

// lines returns entries as they are shown.
func (p *people) lines(ctx context.Context, entries []*messagev1.Entry) []string {
	var lines []string
	for _, e := range entries {
		if line := p.line(ctx, e); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// event says what an entry without a text tells, or "".
func (p *people) event(ctx context.Context, e *messagev1.Entry) string {
	switch b := e.GetBody().(type) {
	case *messagev1.Entry_Notice:
		return p.notice(ctx, b.Notice)
	case *messagev1.Entry_FriendRequest:
		return p.name(ctx, b.FriendRequest.GetUserId()) + " asks to be your friend: " + plain(b.FriendRequest.GetMessage())
	case *messagev1.Entry_FriendAdded:
		return p.name(ctx, b.FriendAdded.GetUserId()) + " is your friend now"
	case *messagev1.Entry_GroupInvited:
		return p.name(ctx, b.GroupInvited.GetActorId()) + " added you to #" + name(b.GroupInvited.GetName())
	}
	return ""
}

func (p *people) notice(ctx context.Context, n *messagev1.Notice) string {
	actor, others := p.name(ctx, n.GetActorId()), make([]string, 0, len(n.GetUserIds()))
	for i, id := range n.GetUserIds() {
		if i == 5 {
			others = append(others, fmt.Sprintf("%d more", len(n.GetUserIds())-i))
			break
		}
		if id != n.GetActorId() {
			others = append(others, p.name(ctx, id))
		}
	}
	whom := strings.Join(others, ", ")
	switch n.GetType() {
	case messagev1.NoticeType_NOTICE_TYPE_GROUP_CREATED:
		return strings.TrimSuffix(fmt.Sprintf("%s made this group with %s", actor, whom), " with ")
	case messagev1.NoticeType_NOTICE_TYPE_MEMBER_JOINED:
		return strings.TrimSuffix(fmt.Sprintf("%s added %s", actor, whom), " added ")
	case messagev1.NoticeType_NOTICE_TYPE_MEMBER_LEFT:
		return actor + " left"
	case messagev1.NoticeType_NOTICE_TYPE_MEMBER_REMOVED:
		return fmt.Sprintf("%s removed %s", actor, whom)
	case messagev1.NoticeType_NOTICE_TYPE_ROLE_CHANGED:
		return fmt.Sprintf("%s made %s %s", actor, whom, name(n.GetName()))
	case messagev1.NoticeType_NOTICE_TYPE_GROUP_CHANGED:
		return fmt.Sprintf("%s changed the group: #%s", actor, name(n.GetName()))
	case messagev1.NoticeType_NOTICE_TYPE_GROUP_DISSOLVED:
		return actor + " dissolved the group"
	case messagev1.NoticeType_NOTICE_TYPE_ANNOUNCEMENT:
		return actor + " changed the announcement"
	default:
		return ""
	}
}
