// Package vendorapi is the contract between the pusher-offline service and the adapters of the push vendors (APNs, FCM, …):
// what an adapter is given, what it must answer, and the few helpers that every adapter needs over net/http.
//
// It never decides who is notified, never retries over time, and keeps no state: queues, limits, breakers and the
// deleting of dead tokens are the service's. It keeps two invariants: an adapter answers exactly one [Outcome] per
// [Item], in order; and no text of a message and no whole token ever stands in an error, a log line or a printed value.
package vendorapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
)

// ErrNotConfigured is what an adapter's New returns when its section of the configuration holds no credentials at all.
// Half a set of credentials is another error, which names what is missing.
var ErrNotConfigured = errors.New("push vendor is not configured")

// Environment says to which of APNs' two worlds a token belongs. Other vendors ignore it.
type Environment string

// The environments; the empty one counts as production.
const (
	Production Environment = "production"
	Sandbox    Environment = "sandbox"
)

// Target is one installation of a client that can be reached through a vendor.
type Target struct {
	Provider     string // the name of the Sender: "apns", "fcm"
	Token        string // as the vendor gave it to the client; a secret, see Redact
	AppID        string // bundle or package; empty means the one of the configuration
	Environment  Environment
	Language     string // BCP 47; the service has localised the text already
	UserID       chat.UserID
	DeviceID     chat.DeviceID
	RegisteredAt time.Time // when the client last registered this token
}

// LogValue shows a target without its whole token.
func (t Target) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("provider", t.Provider), slog.String("token", Redact(t.Token)),
		slog.String("user", string(t.UserID)), slog.String("device", string(t.DeviceID)))
}

// String is the same as LogValue, so that no verb of fmt but %#v shows the token.
func (t Target) String() string { return fmt.Sprint(t.LogValue()) }

// Kind is what a notification does on the device.
type Kind uint8

// The kinds. A call is not among them: it needs tokens and rights of its own.
const (
	KindAlert  Kind = iota // shows a text and makes a sound
	KindBadge              // only sets the number on the icon
	KindSilent             // only wakes the app, best effort
	KindCancel             // wakes the app so that it takes back what CollapseID showed, best effort
)

// String returns the name that apps see in the key "kind".
func (k Kind) String() string {
	if names := [...]string{"alert", "badge", "silent", "cancel"}; int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Priority is how much of the device's battery a notification is worth.
type Priority uint8

// The priorities. Kinds that show nothing are sent with less, where the vendor demands it.
const (
	High   Priority = iota // at once
	Normal                 // when the device is awake anyway
)

// Notification is what is shown. Title and Body are final: localised, and reduced to what the user's privacy setting
// allows, since a vendor's log counts as disclosure.
type Notification struct {
	PushID         string // a UUID where the vendor takes one as its message id
	DedupeID       string // the same for each attempt; for vendors that remember it
	ConversationID chat.ConversationID
	MessageID      string
	Seq            uint64
	Title          string
	Body           string    // shortened by the adapter to what the vendor takes
	Badge          *int      // all unread messages of the user; 0 clears, nil leaves the number alone
	Thread         string    // groups notifications; empty means the conversation
	CollapseID     string    // the same value replaces on the screen; empty never replaces
	Expires        time.Time // the zero time means now or never: the vendor stores nothing
	Priority       Priority
	Kind           Kind
}

// LogValue shows a notification without its text.
func (n Notification) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("push", n.PushID), slog.String("kind", n.Kind.String()),
		slog.String("conversation", string(n.ConversationID)), slog.String("message", n.MessageID),
		slog.Uint64("seq", n.Seq))
}

// String is the same as LogValue, so that no verb of fmt but %#v shows the text.
func (n Notification) String() string { return fmt.Sprint(n.LogValue()) }

// ThreadID returns Thread, or the conversation if that is empty.
func (n Notification) ThreadID() string {
	if n.Thread == "" {
		return string(n.ConversationID)
	}
	return n.Thread
}

// Item is one notification for one installation.
type Item struct {
	Target       Target
	Notification Notification
}

// Caps says what a vendor can do, so that the service need not know its name.
type Caps struct {
	MaxItems   int           // most items that one Send should get
	MaxPayload int           // bytes; the adapter shortens the body to fit
	Badge      bool          // takes an absolute number
	Replace    bool          // CollapseID replaces what is on the screen
	Silent     bool          // KindSilent and KindCancel reach the app
	Backoff    time.Duration // base of the exponential delay after Transient and Throttled without RetryAfter
}

// Sender is an adapter. It is safe for concurrent use, and bounds its own concurrency over all callers.
type Sender interface {
	// Name is the provider's name in the protocol, for example "apns".
	Name() string
	// Send tries each item once and returns exactly one outcome per item, in the order of items, whatever happens to
	// ctx: what was not tried is Transient. It keeps no item after it returns.
	Send(ctx context.Context, items []Item) []Outcome
	// Caps is constant.
	Caps() Caps
}
