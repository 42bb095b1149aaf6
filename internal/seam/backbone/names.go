package backbone

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The names of streams and subjects. They are public: operators see them, and deploy/ sets limits on them.
const (
	// DeadStream holds what was parked, for 7 days: subject oc.dead.<queue>.<topic>.
	DeadStream = "OC_DEAD"
	// DeadPrefix begins the subjects of DeadStream.
	DeadPrefix = "oc.dead."
)

// MaxData is the longest data that Append and Publish take, in bytes: the server's default of
// 1 MiB less room for headers. More is ErrRefused.
const MaxData = 1<<20 - 4<<10

// LogStream returns the name of a partition's stream.
func LogStream(partition int) string { return "OC_LOG_" + strconv.Itoa(partition) }

// LogSubject returns the one subject of a partition's stream.
func LogSubject(partition int) string { return "oc.log." + strconv.Itoa(partition) }

// Stream returns the name of the queue's stream; "" for a name that is no queue.
func (q QueueName) Stream() string {
	switch q {
	case PushOnline:
		return "OC_PUSH_ONLINE"
	case PushOffline:
		return "OC_PUSH_OFFLINE"
	case Events:
		return "OC_EVENTS"
	}
	return ""
}

// Prefix returns what stands before the topic in the queue's subjects; it ends with a dot.
func (q QueueName) Prefix() string {
	switch q {
	case PushOnline:
		return "oc.push.online."
	case PushOffline:
		return "oc.push.offline."
	case Events:
		return "auth.event."
	}
	return ""
}

// CheckTopic refuses what is no topic: empty tokens, blanks and, unless wild, wildcards.
func CheckTopic(topic string, wild bool) error {
	tokens := strings.Split(topic, ".")
	for i, t := range tokens {
		switch {
		case t == "" || strings.ContainsAny(t, " \t\r\n\x00"):
			return fmt.Errorf("topic %q: empty token or blank: %w", topic, ErrRefused)
		case !strings.ContainsAny(t, "*>"):
		case !wild || (t != "*" && t != ">") || (t == ">" && i < len(tokens)-1):
			return fmt.Errorf("topic %q: misplaced wildcard: %w", topic, ErrRefused)
		}
	}
	return nil
}

// MatchTopic tells whether topic is covered by filter, which may hold wildcards; "" covers all.
func MatchTopic(filter, topic string) bool {
	if filter == "" {
		return true
	}
	have, want := strings.Split(topic, "."), strings.Split(filter, ".")
	for i, f := range want {
		switch {
		case f == ">":
			return len(have) > i
		case i >= len(have) || (f != "*" && f != have[i]):
			return false
		}
	}
	return len(have) == len(want)
}

// CheckName refuses what cannot name a durable consumer.
func CheckName(name string) error {
	if name == "" || len(name) > 64 {
		return errors.New("backbone: a consumer's name has 1 to 64 characters")
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return fmt.Errorf("backbone: consumer name %q: only letters, digits, - and _", name)
		}
	}
	return nil
}

// Definite tells whether err says for certain that nothing was stored.
func Definite(err error) bool {
	return errors.Is(err, ErrConflict) || errors.Is(err, ErrFull) || errors.Is(err, ErrRefused)
}
