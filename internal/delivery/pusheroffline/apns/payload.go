package apns

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
)

const (
	maxTitle      = 256 // leaves room for the body
	maxCollapseID = 64
)

type content struct {
	APS            aps                 `json:"aps"`
	ConversationID chat.ConversationID `json:"conversationId,omitempty"`
	MessageID      string              `json:"messageId,omitempty"`
	Seq            uint64              `json:"seq,omitempty"`
	Kind           string              `json:"kind,omitempty"`
	CollapseID     string              `json:"collapseId,omitempty"`
}

type aps struct {
	Alert            *alert `json:"alert,omitempty"`
	Badge            *int   `json:"badge,omitempty"`
	Sound            string `json:"sound,omitempty"`
	ThreadID         string `json:"thread-id,omitempty"`
	ContentAvailable int    `json:"content-available,omitempty"`
	MutableContent   int    `json:"mutable-content,omitempty"`
}

type alert struct {
	Title string `json:"title,omitempty"`
	Body  string `json:"body,omitempty"`
}

// payload returns the JSON of n, with the body shortened so that all of it fits.
func payload(n vendorapi.Notification) ([]byte, error) {
	c := content{ConversationID: n.ConversationID, MessageID: n.MessageID, Seq: n.Seq}
	switch n.Kind {
	case vendorapi.KindAlert:
		return vendorapi.Fit(maxPayload, n.Body, func(body string) ([]byte, error) {
			c.APS = aps{
				Alert: &alert{Title: vendorapi.Shorten(n.Title, maxTitle), Body: body},
				Badge: n.Badge, Sound: "default", ThreadID: n.ThreadID(),
				MutableContent: 1, // lets the app's extension decrypt, localise or hide the text
			}
			return vendorapi.JSON(c)
		})
	case vendorapi.KindBadge:
		if n.Badge == nil {
			return nil, errors.New("the number is missing")
		}
		c = content{APS: aps{Badge: n.Badge}} // about no message
	case vendorapi.KindSilent, vendorapi.KindCancel:
		c.APS = aps{ContentAvailable: 1} // Apple refuses anything visible beside it
		c.Kind, c.CollapseID = n.Kind.String(), n.CollapseID
	default:
		return nil, fmt.Errorf("kind %d is not supported", n.Kind)
	}
	return vendorapi.Fit(maxPayload, "", func(string) ([]byte, error) { return vendorapi.JSON(c) })
}

var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func headers(n vendorapi.Notification, topic string) http.Header {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("apns-topic", topic)
	h.Set("apns-expiration", expiration(n))
	h.Set("apns-push-type", "alert")
	h.Set("apns-priority", "10")
	switch {
	case n.Kind == vendorapi.KindSilent || n.Kind == vendorapi.KindCancel:
		h.Set("apns-push-type", "background")
		h.Set("apns-priority", "5") // 10 is refused
	case n.Kind == vendorapi.KindBadge || n.Priority == vendorapi.Normal:
		h.Set("apns-priority", "5")
	}
	if uuid.MatchString(n.PushID) { // another id would be refused; without one Apple makes its own
		h.Set("apns-id", n.PushID)
	}
	// Only an alert replaces an alert: with the same id, waking the app would take the place of what still waits.
	if n.CollapseID != "" && n.Kind == vendorapi.KindAlert {
		h.Set("apns-collapse-id", collapseID(n.CollapseID))
	}
	return h
}

// expiration is 0, which is to try once and store nothing, for a notification without expiry.
func expiration(n vendorapi.Notification) string {
	if n.Expires.IsZero() {
		return "0"
	}
	return strconv.FormatInt(max(n.Expires.Unix(), 1), 10)
}

// collapseID returns s, or its hash if Apple would refuse s as too long or as no header.
func collapseID(s string) string {
	if len(s) <= maxCollapseID && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
