package oceanchat_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http/httptest"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
)

// echo is a whole bot: it answers every message with the same text, until ctx ends. A message whose answer is refused
// does not end it.
func echo(ctx context.Context, url, password string) error {
	c, err := oceanchat.New(oceanchat.Options{URL: url, Username: "echo", Password: password, DeviceID: "echo-1"})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Start(ctx); err != nil {
		return err
	}
	for e, err := range c.Entries(ctx, oceanchat.Resume("echo")) {
		if err != nil {
			return err
		}
		if text := e.GetText().GetText(); text != "" && e.GetSenderId() != c.UserID() {
			_, err := c.Reply(ctx, e, fmt.Sprintf("You said: %.4900s", text)) // a message has at most 5,000 characters
			if _, refused := errors.AsType[*oceanchat.Error](err); refused {
				log.Print("skip a message: ", err) // blocked, no member any more: it can never be answered
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	fake := fakeserver.New() // a real one is at an address such as https://chat.example.org
	web := httptest.NewServer(fake)
	defer web.Close()
	defer fake.Close()
	fake.AddUser("echo", "a good password")
	fake.AddUser("ann", "another password")
	ended := make(chan error)
	go func() { ended <- echo(ctx, web.URL, "a good password") }()

	if err := fake.Await(ctx, 1); err != nil { // the bot: it answers what comes from its first start on
		fmt.Println(err)
		return
	}
	ann, err := oceanchat.New(oceanchat.Options{URL: web.URL, Username: "ann", Password: "another password", DeviceID: "ann-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := ann.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	bot, err := ann.FindUser(ctx, "echo")
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := ann.Conversation(oceanchat.User(bot.GetUserId())).Send(ctx, oceanchat.Text("hello")); err != nil {
		fmt.Println(err)
		return
	}
	for e := range ann.Entries(ctx, oceanchat.Beginning) {
		fmt.Println(e.GetText().GetText())
		if e.GetSenderId() == bot.GetUserId() {
			break
		}
	}
	ann.Close()
	cancel()
	<-ended
	// Output:
	// hello
	// You said: hello
}
