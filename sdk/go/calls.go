package oceanchat

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
)

// Groups returns the calls about groups: Create, Get, Update, AddMembers, Leave and so on, as Client.Call makes them.
func (c *Client) Groups() groupv1.GroupServiceClient { return groupv1.NewGroupServiceClient(c.Conn()) }

// Users returns the calls about users: Get, GetMe, Search, friends, blocks, settings, as Client.Call makes them.
func (c *Client) Users() userv1.UserServiceClient { return userv1.NewUserServiceClient(c.Conn()) }

// Conn makes Client.Call what generated clients are made from, for example
// presencev1.NewPresenceServiceClient(c.Conn()). The methods that need no log-in are not there; see REST.
func (c *Client) Conn() grpc.ClientConnInterface { return conn{c} }

// Members yields the members of a group, page by page. It ends with the first error, which comes alone.
func (c *Client) Members(ctx context.Context, groupID string) iter.Seq2[*groupv1.Member, error] {
	return func(yield func(*groupv1.Member, error) bool) {
		for page := ""; ; {
			r, err := c.Groups().ListMembers(ctx, &groupv1.ListMembersRequest{GroupId: groupID, PageToken: page})
			if err != nil {
				yield(nil, err)
				return
			}
			for _, m := range r.GetMembers() {
				if !yield(m, nil) {
					return
				}
			}
			if page = r.GetNextPageToken(); page == "" {
				return
			}
		}
	}
}

// FindUser returns the user with this exact username. The error is NOT_FOUND's *Error if there is none, or none that
// wants to be found.
func (c *Client) FindUser(ctx context.Context, username string) (*userv1.User, error) {
	r, err := c.Users().Search(ctx, &userv1.SearchRequest{Query: username})
	if err != nil {
		return nil, fmt.Errorf("find user %s: %w", username, err)
	}
	for _, u := range r.GetUsers() {
		if u.GetUsername() == username {
			return u, nil
		}
	}
	return nil, &Error{Code: "NOT_FOUND", Reason: "NOT_FOUND", Message: fmt.Sprintf("no user %q can be found", username)}
}

// conn carries calls of generated clients over the long connection.
type conn struct{ c *Client }

var _ grpc.ClientConnInterface = conn{}

// Invoke implements grpc.ClientConnInterface; options mean nothing here.
func (n conn) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	req, isReq := args.(proto.Message)
	resp, isResp := reply.(proto.Message)
	if !isReq || !isResp {
		return fmt.Errorf("oceanchat: %s: no protobuf messages", method)
	}
	return n.c.Call(ctx, methodName(method), req, resp)
}

// NewStream implements grpc.ClientConnInterface. The contract has no streams.
func (conn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("oceanchat: no streams")
}

// methodName turns "/oceanchat.group.v1.GroupService/AddMembers" into "group.addMembers".
func methodName(full string) string {
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	service = strings.TrimSuffix(service[strings.LastIndexByte(service, '.')+1:], "Service")
	return lowerFirst(service) + "." + lowerFirst(method)
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
