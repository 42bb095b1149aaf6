package router

import (
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// shard returns which part of the log a request to message is about, or "" where it does not say, or not well: that is
// for message to judge. It goes by the names that all its requests give to a conversation, and knows no method.
func (p *packet) shard(fullMethod string, params proto.Message) string {
	if p.shards == 0 || calls.Target(fullMethod) != "message" {
		return ""
	}
	c := conversationOf(params, chat.UserID(p.req.GetUserId()))
	if c.Kind() == chat.KindNone {
		return ""
	}
	return strconv.Itoa(c.Partition(p.shards))
}

// conversationOf returns the conversation that params name for user; one that is not valid for a group or user that is not.
func conversationOf(params proto.Message, user chat.UserID) chat.ConversationID {
	if m, ok := params.(interface{ GetConversationId() string }); ok && m.GetConversationId() != "" {
		return chat.ConversationID(m.GetConversationId())
	}
	if m, ok := params.(interface{ GetGroupId() string }); ok && m.GetGroupId() != "" {
		return chat.GroupConversation(chat.GroupID(m.GetGroupId()))
	}
	if m, ok := params.(interface{ GetToUserId() string }); ok && m.GetToUserId() != "" {
		c, err := chat.DirectID(user, chat.UserID(m.GetToUserId()))
		if err == nil {
			return c
		}
	}
	return ""
}
