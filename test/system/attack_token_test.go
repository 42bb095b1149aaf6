package system

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	enc "encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/oceanchat/oceanchat/test/client"
)

// No token that auth did not sign as it stands is taken at any door, whatever it says of itself.
func TestForgedTokens(t *testing.T) {
	s := startDoors(t, false)
	ann, eve := s.member(t, "ann"), s.member(t, "eve")
	var keys struct {
		Keys []struct{ Kid, X string }
	}
	s.ok(t, nil, "GET", "/.well-known/jwks.json", nil, &keys)
	kid, public := keys.Keys[0].Kid, keys.Keys[0].X
	b64 := enc.RawURLEncoding.EncodeToString
	parts := strings.Split(eve.Token, ".")
	claims, err := enc.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	anns := strings.ReplaceAll(string(claims), eve.ID, ann.ID)
	publicKey, own, _ := ed25519.GenerateKey(rand.Reader)
	signed := func(header, claims string, sign func(body string) []byte) string {
		body := b64([]byte(header)) + "." + b64([]byte(claims))
		return body + "." + b64(sign(body))
	}
	none := func(string) []byte { return nil }
	byOwn := func(body string) []byte { return ed25519.Sign(own, []byte(body)) }
	byHash := func(key []byte) func(string) []byte {
		return func(body string) []byte {
			h := hmac.New(sha256.New, key)
			_, _ = h.Write([]byte(body))
			return h.Sum(nil)
		}
	}
	x, _ := enc.RawURLEncoding.DecodeString(public)
	head := func(alg, more string) string { return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"%s}`, alg, kid, more) }
	jwk := fmt.Sprintf(`,"jwk":{"kty":"OKP","crv":"Ed25519","x":%q,"kid":%q}`, b64(publicKey), kid)
	forged := map[string]string{
		"another's claims under one's own signature": parts[0] + "." + b64([]byte(anns)) + "." + parts[2],
		"no signature":                      parts[0] + "." + parts[1] + ".",
		"two parts":                         parts[0] + "." + parts[1],
		"four parts":                        eve.Token + ".x",
		"garbage behind":                    eve.Token + "=",
		"alg none":                          signed(head("none", ""), anns, none),
		"alg None":                          signed(head("None", ""), anns, none),
		"no alg":                            signed(`{"kid":"`+kid+`"}`, anns, none),
		"the public key as a secret":        signed(head("HS256", ""), anns, byHash(x)),
		"the public key's text as a secret": signed(head("HS256", ""), anns, byHash([]byte(public))),
		"an empty secret":                   signed(head("HS256", ""), anns, byHash(nil)),
		"another key under the known name":  signed(head("EdDSA", ""), anns, byOwn),
		"the key in the token":              signed(head("EdDSA", jwk), anns, byOwn),
		"the key elsewhere":                 signed(head("EdDSA", `,"jku":"http://127.0.0.1:1/jwks.json","x5u":"http://127.0.0.1:1/"`), anns, byOwn),
		"a key that is a file":              signed(`{"alg":"EdDSA","kid":"../../../../dev/null"}`, anns, byOwn),
		"a key that is a list":              signed(`{"alg":"EdDSA","kid":["`+kid+`"]}`, anns, byOwn),
		"no key":                            signed(`{"alg":"EdDSA"}`, anns, byOwn),
		"a signature of nothing":            signed(head("EdDSA", ""), anns, func(string) []byte { return make([]byte, 64) }),
		"another issuer":                    signed(head("EdDSA", ""), strings.Replace(anns, `"oceanchat"`, `"evil"`, 1), byOwn),
		"10 KiB":                            strings.Repeat("a", 10<<10),
		"10 KiB of points":                  strings.Repeat(".", 10<<10),
		"a refresh token":                   ann.Refresh,
		"NUL":                               "%00",
	}
	for name, token := range forged {
		s.fails(t, &client.User{REST: client.REST{Token: token}}, "GET", "/users/me", nil, 401, "TOKEN_INVALID")
		if t.Failed() {
			t.Fatalf("REST took %s", name)
		}
		if len(token) > 3<<10 {
			continue // no such connect fits into a frame
		}
		for _, d := range doors {
			l := dialDoor(t, s, d)
			u := *ann
			u.Token = token
			if got := l.connectAs(&u); !strings.Contains(got, `"TOKEN_INVALID"`) {
				t.Errorf("%s: connect with %s: %s; want TOKEN_INVALID", d.name, name, got)
			}
			l.wantClosed(4001)
			_ = l.nc.Close()
		}
	}
	for _, token := range []string{"", "x", ann.Token, ann.Refresh + "x", strings.Repeat("a", 60<<10), strings.Replace(ann.Refresh, ".0.", ".1.", 1)} {
		a := s.rest(t, nil, "POST", "/auth/refresh", client.Object{"refreshToken": token})
		if a.status != 401 || token != "" && !strings.Contains(string(a.raw), "TOKEN_INVALID") {
			t.Errorf("refresh with %.20q = %d %s; want 401", token, a.status, a.raw)
		}
	}
	s.ok(t, ann, "GET", "/users/me", nil, nil) // none of it ended a session
}

// A flood of log-ins is refused in part and bounded in memory, others are served, and who does not exist is answered as who
// gave the wrong password.
func TestLoginFlood(t *testing.T) {
	s := start(t, "--auth-hash-concurrency", "2", "--auth-hash-queue", "8")
	ann := s.user("ann")
	before := s.metric("process_resident_memory_bytes")
	stop := s.othersAreServed(t, ann)
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for n := range 120 {
		wg.Go(func() {
			a := s.rest(t, nil, "POST", "/auth/login", client.Object{"username": fmt.Sprint("nobody", n), "password": "wrong horse", "deviceId": "d", "platform": "web"})
			var e client.Error
			_ = json.Unmarshal(a.raw, &e)
			mu.Lock()
			defer mu.Unlock()
			if seen[e.Reason]++; e.Reason == "OVERLOADED" && (e.RetryAfterMs <= 0 || a.header.Get("Retry-After") == "") {
				t.Errorf("a refusal without advice: %s", a.raw)
			}
		})
	}
	wg.Wait()
	stop()
	if seen["OVERLOADED"] == 0 || seen["BAD_CREDENTIALS"] == 0 || seen["OVERLOADED"]+seen["BAD_CREDENTIALS"] != 120 {
		t.Errorf("120 log-ins at once, of which 10 may wait: %v; want some answered and the others OVERLOADED", seen)
	}
	after := s.metric("process_resident_memory_bytes")
	t.Logf("memory %.0f MiB before, %.0f MiB after; answers %v", before/(1<<20), after/(1<<20), seen)
	if after-before > 300<<20 { // two hashes of 19 MiB at a time, and what the collector has not collected yet
		t.Errorf("120 log-ins at once took %.0f MiB", (after-before)/(1<<20))
	}
	if err := ann.Login(t.Context()); err != nil {
		t.Errorf("a log-in afterwards = %v", err)
	}
	answer := func(username string) string {
		return withoutRequestID(t, s.rest(t, nil, "POST", "/auth/login", client.Object{"username": username, "password": "wrong horse", "deviceId": "d", "platform": "web"}))
	}
	want := answer("ann")
	for _, name := range []string{"nobody", "NO SUCH NAME", strings.Repeat("x", 1000), "ann\x00", "Ann"} {
		if got := answer(name); got != want {
			t.Errorf("log-in of %.20q: %s; of ann with a wrong password: %s; want the same", name, got, want)
		}
	}
}

// Guessing at one account is stopped, and its owner still gets in from where it was before: behind a proxy that says
// who is who.
func TestGuessedAccount(t *testing.T) {
	s := startContract(t, "--auth-failed-logins", "3", "--auth-failed-logins-everywhere", "8", "--trusted-proxies", "127.0.0.0/8")
	login := func(from, username, password string) string {
		var e client.Error
		a := s.restHeader(t, nil, "POST", "/auth/login", client.Object{"username": username, "password": password, "deviceId": "d-" + strings.ReplaceAll(from, ".", "-"), "platform": "web"},
			http.Header{"X-Forwarded-For": {from}})
		_ = json.Unmarshal(a.raw, &e)
		return e.Reason
	}
	ann := s.user("ann")
	const home = "198.51.100.1"
	if got := login(home, "ann", ann.Password); got != "" {
		t.Fatalf("the owner's log-in = %s", got)
	}
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q; want %q", what, got, want)
		}
	}
	for range 3 {
		want("a guess", login("203.0.113.1", "ann", "wrong horse"), "BAD_CREDENTIALS")
	}
	want("one too many of a network", login("203.0.113.1", "ann", "wrong horse"), "RATE_LIMITED")
	want("the owner elsewhere", login("198.51.100.2", "ann", ann.Password), "")
	locked := false
	for n := range 20 {
		locked = locked || login(fmt.Sprint("203.0.113.", 10+n), "ann", "wrong horse") == "RATE_LIMITED"
	}
	if !locked {
		t.Error("20 networks guessed and none was refused")
	}
	want("a new network with the right password", login("203.0.113.99", "ann", ann.Password), "RATE_LIMITED")
	want("the owner at home", login(home, "ann", ann.Password), "")
	s.ok(t, ann, "GET", "/users/me", nil, nil)
}
