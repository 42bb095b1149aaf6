package fakeserver

import (
	"slices"
	"time"
)

// Point is where a rule may step in.
type Point string

// The points.
const (
	AtDial      Point = "dial"      // a socket is opened; Delay waits, everything else refuses
	AtHandshake Point = "handshake" // the WebSocket's: answered with 503 and RetryAfterMs, in whole seconds
	AtRequest   Point = "request"   // a request has come and is not acted on yet, REST's included
	AtReply     Point = "reply"     // it was acted on, and the answer is not sent yet
	AtPush      Point = "push"      // a push is about to be sent; Method is its name
)

// Action is what a rule does.
type Action string

// The actions.
const (
	Drop      Action = "drop"      // nothing comes of it, as if lost on the way
	Delay     Action = "delay"     // it comes DelayMs later, and what is behind it comes first
	Duplicate Action = "duplicate" // it is sent twice
	Hold      Action = "hold"      // it is sent behind the next frame
	Cut       Action = "cut"       // the connection breaks
	CutMid    Action = "cutMid"    // half the frame is sent, then the connection breaks
	Close     Action = "close"     // the connection is closed with Code, after the push disconnect unless Silent
	Fail      Action = "fail"      // a request is answered with an error of ErrorCode and Reason, and not acted on
)

// Rule is one line of a script, which may be written as JSON too. The first rule that fits an event acts, and no other.
type Rule struct {
	At     Point  `json:"at"`
	Method string `json:"method,omitempty"` // "" fits all
	Skip   int    `json:"skip,omitempty"`   // how often it lets pass first
	Times  int    `json:"times,omitempty"`  // how often it acts; 0 is once, -1 always
	Do     Action `json:"do"`

	DelayMs      int    `json:"delayMs,omitempty"`
	Code         int    `json:"code,omitempty"`
	Silent       bool   `json:"silent,omitempty"`
	ErrorCode    string `json:"errorCode,omitempty"`
	Reason       string `json:"reason,omitempty"`
	RetryAfterMs int    `json:"retryAfterMs,omitempty"`
}

// Script adds rules behind those that are there.
func (s *Server) Script(rules ...Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rules {
		r.Times = max(r.Times, -1)
		if r.Times == 0 {
			r.Times = 1
		}
		s.rules = append(s.rules, &r)
	}
}

// Calm removes all rules.
func (s *Server) Calm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

// Left returns how many rules are to act yet; those that always act count.
func (s *Server) Left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rules)
}

func (s *Server) match(at Point, method string) *Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.matchLocked(at, method)
}

// matchLocked returns the rule that acts on an event, or nil.
func (s *Server) matchLocked(at Point, method string) *Rule {
	for i, r := range s.rules {
		if r.At != at || r.Method != "" && r.Method != method {
			continue
		}
		if r.Skip > 0 {
			r.Skip--
			continue
		}
		if r.Times > 0 {
			if r.Times--; r.Times == 0 {
				s.rules = slices.Delete(s.rules, i, i+1)
			}
		}
		return r
	}
	return nil
}

func (r *Rule) delay() time.Duration { return time.Duration(r.DelayMs) * time.Millisecond }

func (r *Rule) retryAfter() time.Duration { return time.Duration(r.RetryAfterMs) * time.Millisecond }
