package fakeserver

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CloseCodes are the codes with which a server ends a connection, by the contract, and 1001 and 1006, which proxies and
// networks add.
var CloseCodes = []int{1001, 1006, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4008}

// Points are where rules act on a connection, from its first byte on: every one a client must survive.
var Points = []Point{AtDial, AtHandshake, AtRequest, AtReply, AtPush}

// actions are the words of scripts.
var actions = map[string]Action{
	"lose": Drop, "delay": Delay, "duplicate": Duplicate, "reorder": Hold, "cut": Cut, "cutmid": CutMid, "close": Close, "fail": Fail,
}

// Parse reads a script: a rule a line, in the order in which Script takes them, and comments behind #.
//
//	lose ack                                  the answer to message.send; short for: lose reply message.send
//	delay push entry by=300ms times=4
//	duplicate push entry times=-1
//	reorder push entry skip=2                 it comes behind the next frame
//	cut request connect
//	cutmid push entry
//	close 4006 push entry retryAfter=2s silent
//	fail request message.send UNAVAILABLE/OVERLOADED retryAfter=1s
//	lose dial times=3
//	fail handshake retryAfter=2s
//
// A rule without a method fits all; times is how often it acts and skip how often it lets pass first.
func Parse(script string) ([]Rule, error) {
	var rules []Rule
	n := 0
	for line := range strings.Lines(script) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		r, err := parseRule(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func parseRule(words []string) (Rule, error) {
	r := Rule{Do: actions[words[0]]}
	if r.Do == "" {
		return r, fmt.Errorf("unknown action %q; there are %s", words[0], strings.Join(slices.Sorted(maps.Keys(actions)), ", "))
	}
	for _, word := range words[1:] {
		if err := r.word(word); err != nil {
			return r, err
		}
	}
	switch {
	case r.At == "":
		return r, fmt.Errorf("%s: say where: dial, handshake, request, reply, push or ack", words[0])
	case r.Do == Close && r.Code == 0:
		return r, fmt.Errorf("close needs a code")
	case r.Do == Fail && r.At == AtRequest && r.ErrorCode == "":
		return r, fmt.Errorf("fail needs CODE/REASON")
	}
	return r, nil
}

// word takes one word of a line. What a word is shows from its form.
func (r *Rule) word(w string) error {
	key, value, pair := strings.Cut(w, "=")
	code, reason, failure := strings.Cut(w, "/")
	number, notNumber := strconv.Atoi(w)
	switch {
	case pair:
		return r.option(key, value)
	case w == "silent":
		r.Silent = true
	case w == "ack":
		r.At, r.Method = AtReply, "message.send"
	case slices.Contains(Points, Point(w)):
		r.At = Point(w)
	case failure:
		r.ErrorCode, r.Reason = code, reason
	case notNumber == nil:
		r.Code = number
	case r.At != "" && r.Method == "":
		r.Method = w
	default:
		return fmt.Errorf("unknown word %q", w)
	}
	return nil
}

func (r *Rule) option(key, value string) error {
	number, notNumber := strconv.Atoi(value)
	d, notDuration := time.ParseDuration(value)
	switch {
	case key == "skip" && notNumber == nil:
		r.Skip = number
	case key == "times" && notNumber == nil:
		r.Times = number
	case key == "by" && notDuration == nil:
		r.DelayMs = int(d.Milliseconds())
	case key == "retryAfter" && notDuration == nil:
		r.RetryAfterMs = int(d.Milliseconds())
	default:
		return fmt.Errorf("unknown option %s=%s", key, value)
	}
	return nil
}

// Play is Parse and Script in one, for tests: it panics at a mistake in the script.
func (s *Server) Play(script string) {
	rules, err := Parse(script)
	if err != nil {
		panic("fakeserver: " + err.Error())
	}
	s.Script(rules...)
}
