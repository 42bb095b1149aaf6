package oceanchat_test

import (
	"context"
	"fmt"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
)

// echo is a bot that answers every text with the same text, once, also over restarts if the client has a Store.
func echo(ctx context.Context, c *oceanchat.Client) error {
	for e, err := range c.Entries(ctx, oceanchat.Resume("echo")) {
		if err != nil {
			return err
		}
		if e.GetText() == nil || e.GetSenderId() == c.UserID() {
			continue
		}
		answer := oceanchat.Message{Text: "You said: " + e.GetText().GetText(), ID: "re-" + e.GetMessageId()}
		if _, err := c.Conversation(oceanchat.ID(e.GetConversationId())).Send(ctx, answer); err != nil {
			return err
		}
	}
	return nil
}

// connect returns a client that is online. For a real server the URL is all that is needed to find it.
func connect(ctx context.Context, srv *fakeserver.Server, username string) (*oceanchat.Client, error) {
	c, err := oceanchat.New(oceanchat.Options{
		URL: fakeserver.URL, DialContext: srv.Dial, Username: username, Password: "a good password", DeviceID: username + "-1",
	})
	if err != nil {
		return nil, err
	}
	return c, c.Start(ctx)
}

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	srv := fakeserver.New()
	defer srv.Close()
	srv.AddUser("echo", "a good password")
	srv.AddUser("ann", "a good password")

	bot, err := connect(ctx, srv, "echo")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer bot.Close()
	done := make(chan error)
	go func() { done <- echo(ctx, bot) }()

	ann, err := connect(ctx, srv, "ann")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ann.Close()
	if _, err := ann.Conversation(oceanchat.User("u1")).Send(ctx, oceanchat.Text("hello")); err != nil {
		fmt.Println(err)
		return
	}
	for e := range ann.Entries(ctx, oceanchat.Beginning) {
		fmt.Println(e.GetText().GetText())
		if e.GetSenderId() == "u1" {
			break
		}
	}
	cancel()
	<-done
	// Output:
	// hello
	// You said: hello
}
