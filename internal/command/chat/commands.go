package chat

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
)

const (
	historyDefault = 20
	historyMax     = 100 // a page of the contract
	maxWho         = 50  // members that are listed by name
)

const helpText = `  /list                  conversations, with what is unread
  /open NAME             open the conversation with a user, a #group, a number or an id of /list
  /group NAME USER…      make a group and open it; "A NAME" may have spaces
  /who                   who takes part in the open conversation, and who is on line
  /history [N]           the newest N messages, 20 without N, at most 100
  /help                  this
  /quit                  end
  everything else is sent to the open conversation; // begins a text with a slash`

// commands are the words that begin with a slash and ask the server something.
func (t *talk) commands() map[string]func(context.Context, []string) error {
	return map[string]func(context.Context, []string) error{
		"/open": t.cmdOpen, "/group": t.cmdGroup, "/who": t.cmdWho, "/history": t.cmdHistory,
	}
}

func (t *talk) cmdList() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = t.list[:0]
	ctx, cancel := context.WithTimeout(context.Background(), nameTimeout)
	defer cancel()
	var infos []*queryv1.Conversation
	for _, info := range t.c.Conversations() {
		if info.GetHidden() || strings.HasPrefix(info.GetConversationId(), "i~") && info.GetHead().GetSeq() == 0 {
			continue
		}
		infos = append(infos, info)
	}
	t.number(ctx, infos)
	if len(t.list) == 0 {
		t.say("no conversations yet; /open NAME begins one")
	}
}

// number prints conversations with the numbers that /open takes from now on, and with the ids of those that are called
// the same. t.mu is held.
func (t *talk) number(ctx context.Context, infos []*queryv1.Conversation) {
	t.list = t.list[:0]
	titles, called := make([]string, len(infos)), map[string]int{}
	for i, info := range infos {
		titles[i] = t.people.title(ctx, info)
		called[titles[i]]++
	}
	for i, info := range infos {
		t.list = append(t.list, info.GetConversationId())
		line := fmt.Sprintf("%3d %s", i+1, titles[i])
		if called[titles[i]] > 1 {
			line += " " + name(info.GetConversationId())
		}
		if n := info.GetUnread(); n > 0 {
			line += fmt.Sprintf(" (%d unread)", n)
		}
		t.scr.print(line)
	}
}

func (t *talk) cmdOpen(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say with whom: /open NAME")
	}
	p, err := t.find(ctx, strings.Join(args, " "))
	if err != nil {
		return err
	}
	t.show(ctx, p)
	return nil
}

// show makes p the open conversation.
func (t *talk) show(ctx context.Context, p *place) {
	t.scr.prompt(p.title)
	t.say("talking to %s", p.title)
	t.page(ctx, p, firstPage)
}

// errSeveral says that a name is not enough.
var errSeveral = errors.New("conversations are called so; /open with a number or an id of these chooses one")

// find returns the conversation that a word means: a number of the list, an id, a title, a user. Several of one title are
// listed, and the user is asked to choose: a message must not go to the wrong people.
func (t *talk) find(ctx context.Context, word string) (*place, error) {
	t.mu.Lock()
	list := t.list
	t.mu.Unlock()
	if n, err := strconv.Atoi(word); err == nil && n > 0 && n <= len(list) {
		return t.at(ctx, list[n-1]), nil
	}
	called := map[string][]*queryv1.Conversation{}
	for _, info := range t.c.Conversations() {
		if info.GetConversationId() == word {
			return t.at(ctx, word), nil
		}
		if p := (&place{Conversation: t.c.Conversation(oceanchat.ID(info.GetConversationId()))}); t.c.State().Phase == oceanchat.Online {
			t.learned(ctx, p)
			info = p.Info()
		}
		title := t.people.title(ctx, info)
		called[title] = append(called[title], info)
	}
	for _, title := range []string{word, "#" + word} {
		switch same := called[title]; {
		case len(same) == 1:
			return t.at(ctx, same[0].GetConversationId()), nil
		case len(same) > 1:
			t.mu.Lock()
			defer t.mu.Unlock()
			t.number(ctx, same)
			return nil, fmt.Errorf("%d %w", len(same), errSeveral)
		}
	}
	u, err := t.c.FindUser(ctx, word)
	if err != nil {
		return nil, err
	}
	me := t.c.UserID()
	if u.GetUserId() == me {
		return nil, errors.New("that is you")
	}
	return &place{
		t.c.Conversation(oceanchat.User(u.GetUserId())), "d~" + min(me, u.GetUserId()) + "~" + max(me, u.GetUserId()), t.people.learn(u),
	}, nil
}

// at returns the conversation with an id.
func (t *talk) at(ctx context.Context, id string) *place {
	conv := t.c.Conversation(oceanchat.ID(id))
	info := conv.Info()
	return &place{conv, id, t.people.title(ctx, info)}
}

func (t *talk) cmdGroup(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say its name, and who is in it: /group NAME USER…")
	}
	req := &groupv1.CreateRequest{Name: args[0]}
	for _, username := range args[1:] {
		u, err := t.c.FindUser(ctx, username)
		if err != nil {
			return err
		}
		req.MemberIds = append(req.MemberIds, u.GetUserId())
	}
	made, err := t.c.Groups().Create(ctx, req)
	if err != nil {
		return err
	}
	id := made.GetGroup().GetGroupId()
	p := &place{t.c.Conversation(oceanchat.Group(id)), "g~" + id, "#" + name(args[0])}
	t.learned(ctx, p)
	t.show(ctx, p)
	return nil
}

var errNoneOpen = errors.New("no conversation is open; /open NAME opens one")

func (t *talk) cmdWho(ctx context.Context, _ []string) error {
	t.mu.Lock()
	open := t.open
	t.mu.Unlock()
	if open == nil {
		return errNoneOpen
	}
	lines, ids, err := t.members(ctx, open)
	if err != nil {
		return err
	}
	status := map[string]string{t.c.UserID(): "you"}
	if r, err := presencev1.NewPresenceServiceClient(t.c.Conn()).Get(ctx, &presencev1.GetRequest{UserIds: ids}); err == nil {
		for _, p := range r.GetPresences() {
			if p.GetUserId() != t.c.UserID() {
				status[p.GetUserId()] = strings.ToLower(strings.TrimPrefix(p.GetStatus().String(), "STATUS_"))
			}
		}
	}
	for i, id := range ids {
		if s := status[id]; s != "" {
			lines[i] += ", " + s
		}
	}
	for _, line := range lines {
		t.scr.print("  " + line)
	}
	return nil
}

// members returns who takes part, a line and an id each; behind the first ones there is a line for the rest.
func (t *talk) members(ctx context.Context, p *place) (lines, ids []string, err error) {
	group, isGroup := strings.CutPrefix(p.id, "g~")
	if !isGroup {
		for _, id := range strings.Split(p.id, "~")[1:] {
			lines, ids = append(lines, t.people.name(ctx, id)), append(ids, id)
		}
		return lines, ids, nil
	}
	more := 0
	for m, err := range t.c.Members(ctx, group) {
		if err != nil {
			return nil, nil, err
		}
		if len(ids) == maxWho {
			more++
			continue
		}
		lines, ids = append(lines, t.member(m)), append(ids, m.GetUser().GetUserId())
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines, ids, nil
}

func (t *talk) member(m *groupv1.Member) string {
	line := t.people.learn(m.GetUser()) + nickname(m.GetUser())
	if m.GetRole() > groupv1.Role_ROLE_MEMBER {
		line += ", " + strings.ToLower(strings.TrimPrefix(m.GetRole().String(), "ROLE_"))
	}
	return line
}

func nickname(u *userv1.User) string {
	if n := u.GetNickname(); n != "" && n != u.GetUsername() {
		return " (" + name(n) + ")"
	}
	return ""
}

func (t *talk) cmdHistory(ctx context.Context, args []string) error {
	t.mu.Lock()
	open := t.open
	t.mu.Unlock()
	if open == nil {
		return errNoneOpen
	}
	n := historyDefault
	if len(args) > 0 {
		var err error
		if n, err = strconv.Atoi(args[0]); err != nil || n < 1 {
			return fmt.Errorf("%q is no number of messages", args[0])
		}
	}
	if n > historyMax {
		t.say("history: at most the newest %d", historyMax)
		n = historyMax
	}
	t.page(ctx, open, n)
	return nil
}
