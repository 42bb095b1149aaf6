// Package query is the target for reading: conversation lists, history, sync. It merges the tiers: what the log has and
// the writer has not stored yet (asked of message), then the database, in this order, so that nothing acknowledged is
// missed, also with the writer stopped. It never writes and never touches the write path.
package query

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/permit"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Service is the target. It is safe for concurrent use and keeps nothing between calls.
type Service struct {
	queryv1.UnimplementedQueryServiceServer

	db       store.Reader
	messages messagev1.MessageInternalServiceClient
	users    userv1.UserInternalServiceClient
	groups   groupv1.GroupInternalServiceClient
	gate     *permit.Gate
	stands   *positions
	log      *slog.Logger
	quiet    *obs.Limiter
	now      func() time.Time
}

// New returns a Service.
func New(db store.Reader, network calls.Network, log *slog.Logger) *Service {
	users, groups := userv1.NewUserInternalServiceClient(network), groupv1.NewGroupInternalServiceClient(network)
	messages := messagev1.NewMessageInternalServiceClient(network)
	ask := func(ctx context.Context) (*messagev1.GetPositionsResponse, error) {
		return messages.GetPositions(ctx, &messagev1.GetPositionsRequest{})
	}
	return &Service{
		db: db, messages: messages, users: users, groups: groups, stands: &positions{ask: ask},
		gate: permit.New(users, groups), log: log, quiet: obs.Every(10 * time.Second), now: time.Now,
	}
}

// Register serves s on a host.
func (s *Service) Register(h grpc.ServiceRegistrar) { queryv1.RegisterQueryServiceServer(h, s) }

// Run waits for the end of ctx: query only answers.
func (s *Service) Run(ctx context.Context, ready func()) error {
	ready()
	<-ctx.Done()
	return nil
}

// ListConversations returns the caller's conversations, newest activity first.
func (s *Service) ListConversations(ctx context.Context, req *queryv1.ListConversationsRequest) (*queryv1.ListConversationsResponse, error) {
	size, err := chat.PageSize("pageSize", req.PageSize)
	if err != nil {
		return nil, err
	}
	var from pageToken
	if err := from.parse("pageToken", req.GetPageToken()); err != nil {
		return nil, err
	}
	me := calls.IdentityOf(ctx).UserID
	all, err := s.outlines(ctx, me)
	if err != nil {
		return nil, err
	}
	conversations, next, err := s.listing(ctx, me, all, from, size)
	if err != nil {
		return nil, err
	}
	return &queryv1.ListConversationsResponse{Conversations: conversations, NextPageToken: next.String()}, nil
}

// GetConversation returns one conversation.
func (s *Service) GetConversation(ctx context.Context, req *queryv1.GetConversationRequest) (*queryv1.ConversationResponse, error) {
	me := calls.IdentityOf(ctx).UserID
	c, err := chat.ParseConversationID("conversationId", req.GetConversationId())
	if err != nil {
		return nil, err
	}
	scope, err := s.gate.Authorise(ctx, me, c, permit.Read)
	if err != nil {
		return nil, err
	}
	outlines, err := s.heads(ctx, me, []outline{{Scope: scope}})
	if err != nil {
		return nil, err
	}
	built, err := s.build(ctx, me, outlines)
	if err != nil {
		return nil, err
	}
	return &queryv1.ConversationResponse{Conversation: built[0]}, nil
}
