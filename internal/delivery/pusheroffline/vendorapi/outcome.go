package vendorapi

import "time"

// Class is what happened to one item, in words that are the same for every vendor. The zero Class is no valid outcome.
type Class uint8

// The classes, and what the service does about each.
const (
	Accepted      Class = iota + 1 // the vendor has queued it, which proves no delivery
	TokenDead                      // delete the token if Outcome.Kills; never retry
	AuthExpired                    // our credential was refused and may not be renewed before RetryAfter; retry then
	Throttled                      // too fast for the app or the device: retry after RetryAfter, slow down
	QuotaDay                       // the day's allowance is spent: stop until tomorrow
	Transient                      // network, timeout, vendor's fault: retry with backoff until the expiry
	Rejected                       // this payload will never be taken: dead letter
	Misconfigured                  // our set-up is wrong: open the breaker, tell an operator, delete no token
)

// String returns the label of metrics and log lines.
func (c Class) String() string {
	names := [...]string{
		"none", "accepted", "token_dead", "auth_expired", "throttled", "quota_day", "transient",
		"rejected", "misconfigured",
	}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown"
}

// Retry reports whether the same item may succeed later without anybody's help.
func (c Class) Retry() bool { return c == AuthExpired || c == Throttled || c == Transient }

// Outcome is an adapter's answer for one item.
type Outcome struct {
	Class      Class
	VendorID   string        // the vendor's name for an accepted notification
	VendorCode string        // the vendor's own word for what went wrong; empty if the vendor was not reached
	RetryAfter time.Duration // at least; 0 means the vendor has not said
	// DeadAt is set with TokenDead: the vendor's own time of death, or when the refused send began. A client that
	// registered after it has a living token again.
	DeadAt time.Time
	// MaybeSent says that there was a connection and no answer came: a retry may ring twice, unless CollapseID is set
	// or the vendor knows DedupeID.
	MaybeSent bool
	// Environment is set if the token turned out to belong to another one than the target says; store it.
	Environment Environment
	Err         error // nil only if accepted; holds no text and no token
}

// Kills reports whether o is a reason to delete t's token.
func (o Outcome) Kills(t Target) bool {
	return o.Class == TokenDead && !t.RegisteredAt.After(o.DeadAt)
}

// Failed returns an outcome of class c because of err.
func Failed(c Class, err error) Outcome { return Outcome{Class: c, Err: err} }
