package fcm

import (
	"fmt"
	"strconv"
	"time"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
)

const (
	maxTitle = 256
	maxTTL   = 28 * 24 * time.Hour
)

type envelope struct {
	Message message `json:"message"`
}

type message struct {
	Token        string            `json:"token"`
	Notification *text             `json:"notification,omitempty"`
	Data         map[string]string `json:"data"`
	Android      android           `json:"android"`
}

type text struct {
	Title string `json:"title,omitempty"`
	Body  string `json:"body,omitempty"`
}

type android struct {
	CollapseKey  string        `json:"collapse_key,omitempty"`
	Priority     string        `json:"priority"`
	TTL          string        `json:"ttl"`
	Notification *presentation `json:"notification,omitempty"`
}

type presentation struct {
	Tag   string `json:"tag,omitempty"`
	Sound string `json:"sound,omitempty"`
	Count *int   `json:"notification_count,omitempty"`
}

// payload returns the JSON of it, with the body shortened so that all of it, token included, fits.
//
// An alert is shown by the system even if the app is dead. Its CollapseID becomes the tag only: a collapse_key replaces
// what still waits, and Google keeps no more than four keys for a device that is away, so conversations would be lost.
func payload(it vendorapi.Item, now time.Time) ([]byte, error) {
	n := it.Notification
	m := message{
		Token:   it.Target.Token,
		Data:    data(n),
		Android: android{Priority: "HIGH", TTL: ttl(n.Expires, now)},
	}
	switch n.Kind {
	case vendorapi.KindAlert:
		if n.Priority == vendorapi.Normal {
			m.Android.Priority = "NORMAL"
		}
		m.Android.Notification = &presentation{Tag: n.CollapseID, Sound: "default", Count: n.Badge}
		return vendorapi.Fit(maxPayload, n.Body, func(body string) ([]byte, error) {
			m.Notification = &text{Title: vendorapi.Shorten(n.Title, maxTitle), Body: body}
			return vendorapi.JSON(envelope{m})
		})
	case vendorapi.KindBadge, vendorapi.KindSilent:
		m.Android.Priority = "NORMAL" // HIGH without showing anything costs the app its priority
		m.Android.CollapseKey = n.Kind.String()
	case vendorapi.KindCancel:
	default:
		return nil, fmt.Errorf("kind %d is not supported", n.Kind)
	}
	return vendorapi.Fit(maxPayload, "", func(string) ([]byte, error) { return vendorapi.JSON(envelope{m}) })
}

// data is what the app reads; FCM takes strings only.
func data(n vendorapi.Notification) map[string]string {
	d := map[string]string{}
	set := func(k, v string) {
		if v != "" {
			d[k] = v
		}
	}
	if n.Kind != vendorapi.KindAlert {
		set("kind", n.Kind.String())
	}
	if n.Badge != nil {
		set("badge", strconv.Itoa(*n.Badge))
	}
	if n.Kind == vendorapi.KindBadge {
		return d
	}
	set("conversationId", string(n.ConversationID))
	set("messageId", n.MessageID)
	if n.Seq > 0 {
		set("seq", strconv.FormatUint(n.Seq, 10))
	}
	if n.Kind == vendorapi.KindCancel {
		set("collapseId", n.CollapseID)
	}
	return d
}

// ttl is "0s", which is now or never, for a notification without expiry.
func ttl(expires, now time.Time) string {
	if expires.IsZero() {
		return "0s"
	}
	d := min(max(expires.Sub(now), 0), maxTTL)
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10) + "s"
}
