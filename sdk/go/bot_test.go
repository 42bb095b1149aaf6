package oceanchat_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
)

// The guide's bot goes on when an answer is refused, and quotes at most what fits a message.
func TestBotOutlivesARefusal(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	fake := fakeserver.New()
	web := httptest.NewServer(fake)
	defer web.Close()
	defer fake.Close()
	bot, ann := fake.AddUser("echo", "a good password"), fake.AddUser("ann", "another password")
	ended := make(chan error, 1)
	go func() { ended <- echo(ctx, web.URL, "a good password") }()
	if err := fake.Await(ctx, 1); err != nil {
		t.Fatal(err)
	}
	c, err := oceanchat.New(oceanchat.Options{URL: web.URL, Username: "ann", Password: "another password", DeviceID: "ann-1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	fake.Script(fakeserver.Rule{At: fakeserver.AtRequest, Method: "message.send", Do: fakeserver.Fail, ErrorCode: "PERMISSION_DENIED", Reason: "BLOCKED"})
	at := fakeserver.Direct(bot, ann)
	long := strings.Repeat("\u00e9", 5000)
	fake.Append(at, ann, "refused")
	fake.Append(at, ann, long)
	var got string
	for e, err := range c.Entries(ctx, oceanchat.Beginning) {
		if err != nil {
			t.Fatal(err)
		}
		if e.GetSenderId() == bot {
			got = e.GetText().GetText()
			break
		}
	}
	if want := "You said: " + long[:2*4900]; got != want {
		t.Errorf("the bot said %d bytes %.40q; want %d bytes %.40q", len(got), got, len(want), want)
	}
	c.Close()
	cancel()
	<-ended
}
