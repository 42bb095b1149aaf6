package pusheroffline

import (
	"cmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
)

// maxBody is how much of a text a task carries, in bytes; no vendor shows more.
const maxBody = 1024

// The fixed texts. They are English whatever language the device says; translating them comes with the clients.
const (
	someone       = "Someone"
	newMessage    = "New message"
	wantsFriend   = "wants to add you as a friend"
	isFriend      = "is now your friend"
	invitedYou    = "added you to the group"
	announcedText = "New announcement"
)

// text returns what u's notification of e shows, as far as u's settings allow. A vendor sees it as well. A preview of a
// later version counts as none.
func (w *words) text(app string, e *messagev1.Entry, u chat.UserID) (title, body string) {
	sender := cmp.Or(w.names[e.GetSenderId()], someone)
	switch w.previews[u] {
	case userv1.PushPreview_PUSH_PREVIEW_ALL:
		title, body = w.whole(e, sender)
	case userv1.PushPreview_PUSH_PREVIEW_NAME:
		title, body = sender, newMessage
	case userv1.PushPreview_PUSH_PREVIEW_NONE, userv1.PushPreview_PUSH_PREVIEW_UNSPECIFIED:
		title, body = app, newMessage
	default:
		title, body = app, newMessage
	}
	return vendorapi.Shorten(title, maxBody), vendorapi.Shorten(body, maxBody)
}

func (w *words) whole(e *messagev1.Entry, sender string) (title, body string) {
	body = newMessage
	switch b := e.GetBody().(type) {
	case *messagev1.Entry_Text:
		body = b.Text.GetText()
	case *messagev1.Entry_FriendRequest:
		return sender, wantsFriend
	case *messagev1.Entry_FriendAdded:
		return sender, isFriend
	case *messagev1.Entry_GroupInvited:
		return cmp.Or(b.GroupInvited.GetName(), sender), sender + " " + invitedYou
	case *messagev1.Entry_Notice:
		body = announcedText // no other notice rings
	}
	if g := chat.ConversationID(e.GetConversationId()).Group(); g != "" {
		return cmp.Or(w.groups[g], sender), sender + ": " + body
	}
	return sender, body
}
