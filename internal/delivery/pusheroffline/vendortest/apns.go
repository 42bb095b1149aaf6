package vendortest

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// APNs is a stand-in for Apple's push service with both environments. It is safe for concurrent use.
type APNs struct {
	*server
	// URL and SandboxURL are the endpoints of the two environments.
	URL, SandboxURL string
	// KeyFile is the .p8 file; KeyPEM is what it holds.
	KeyFile string
	KeyPEM  []byte
	// KeyID, TeamID and Topic are what requests must name.
	KeyID, TeamID, Topic string

	key      *ecdsa.PublicKey
	sandbox  map[string]bool // tokens that live there, under mu
	provider map[string]bool // provider tokens seen, under mu
}

// NewAPNs starts a server with fresh keys; it ends with the test.
func NewAPNs(t testing.TB) *APNs {
	t.Helper()
	key := newECKey(t)
	f := &APNs{
		server: newServer(t), KeyPEM: keyPEM(t, key), KeyID: "ABC123DEFG", TeamID: "DEF123GHIJ", Topic: "com.example.chat",
		key: &key.PublicKey, sandbox: map[string]bool{}, provider: map[string]bool{},
	}
	f.KeyFile = writeFile(t, "AuthKey_"+f.KeyID+".p8", f.KeyPEM)
	urls := f.serve(t, f, 2, "h2")
	f.URL, f.SandboxURL = urls[0], urls[1]
	return f
}

// LivesInSandbox makes token one of the sandbox: production answers BadDeviceToken for it. All others live in
// production, and the sandbox answers so for them.
func (f *APNs) LivesInSandbox(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sandbox[token] = true
}

// ProviderTokens returns how many different provider tokens were seen.
func (f *APNs) ProviderTokens() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.provider)
}

// GoAwayConnections makes the next n new connections say, at their first request, that they took no request and go
// away; a client must repeat the request on another connection.
func (f *APNs) GoAwayConnections(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = n
}

// ServeHTTP answers as Apple does.
func (f *APNs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	w.Header().Set("apns-id", apnsID(r))
	if status, reason, why := f.check(r, body); status != 0 {
		f.problem("%s: %s", reason, why)
		f.answer(w, Answer{Status: status, Reason: reason})
		return
	}
	token := strings.TrimPrefix(r.URL.Path, "/3/device/")
	sandbox := "https://"+r.Host == f.SandboxURL
	a := f.record(Request{Token: token, Header: r.Header.Clone(), Body: body, Sandbox: sandbox})
	if a == (Answer{}) && f.home(token) != sandbox {
		a = Answer{Status: http.StatusBadRequest, Reason: "BadDeviceToken"}
	}
	if f.misbehave(w, r, a) {
		f.answer(w, a)
	}
}

func apnsID(r *http.Request) string {
	if id := r.Header.Get("apns-id"); id != "" {
		return id
	}
	return "00000000-0000-4000-8000-000000000000"
}

func (f *APNs) home(token string) (sandbox bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sandbox[token]
}

func (f *APNs) answer(w http.ResponseWriter, a Answer) {
	if a.Status == 0 {
		a.Status = http.StatusOK
	}
	w.WriteHeader(a.Status)
	switch {
	case a.Body != "":
		_, _ = io.WriteString(w, a.Body)
	case a.Status != http.StatusOK:
		v := map[string]any{"reason": a.Reason}
		if !a.Timestamp.IsZero() {
			v["timestamp"] = a.Timestamp.UnixMilli()
		}
		_ = json.NewEncoder(w).Encode(v)
	}
}

// check returns status 0 if all is well, else Apple's answer and what was wrong in words.
func (f *APNs) check(r *http.Request, body []byte) (status int, reason, why string) {
	if r.ProtoMajor != 2 {
		return 400, "BadPath", "protocol " + r.Proto
	}
	if r.Method != http.MethodPost {
		return 405, "MethodNotAllowed", r.Method
	}
	token, ok := strings.CutPrefix(r.URL.Path, "/3/device/")
	if !ok {
		return 404, "BadPath", r.URL.Path
	}
	if !hexToken.MatchString(token) {
		return 400, "BadDeviceToken", token
	}
	if reason, why := f.checkAuth(r); reason != "" {
		return 403, reason, why
	}
	if reason, why := f.checkHeaders(r.Header); reason != "" {
		return 400, reason, why
	}
	if len(body) > 4096 {
		return 413, "PayloadTooLarge", strconv.Itoa(len(body)) + " bytes"
	}
	if why := checkAPS(r.Header.Get("apns-push-type"), body); why != "" {
		return 400, "PayloadEmpty", why
	}
	return 0, "", ""
}

var (
	hexToken = regexp.MustCompile(`^[0-9a-fA-F]+$`)
	uuid     = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
)

func (f *APNs) checkAuth(r *http.Request) (reason, why string) {
	jwt, ok := strings.CutPrefix(r.Header.Get("Authorization"), "bearer ")
	if !ok {
		return "MissingProviderToken", "no bearer"
	}
	h, c, err := verify(jwt, f.key)
	if err != nil {
		return "InvalidProviderToken", err.Error()
	}
	if h.Kid != f.KeyID || c.Iss != f.TeamID || c.Exp != 0 {
		return "InvalidProviderToken", fmt.Sprintf("kid %q, iss %q, exp %d", h.Kid, c.Iss, c.Exp)
	}
	f.mu.Lock()
	f.provider[jwt] = true
	f.mu.Unlock()
	age := f.clock().Unix() - c.Iat
	if age > int64(time.Hour/time.Second) || age < -60 {
		return "ExpiredProviderToken", fmt.Sprintf("iat is %d s ago", age)
	}
	return "", ""
}

func (f *APNs) checkHeaders(h http.Header) (reason, why string) {
	pushType, priority := h.Get("apns-push-type"), h.Get("apns-priority")
	switch {
	case h.Get("apns-topic") == "":
		return "MissingTopic", "none"
	case h.Get("apns-topic") != f.Topic:
		return "TopicDisallowed", h.Get("apns-topic")
	case pushType != "alert" && pushType != "background":
		return "InvalidPushType", pushType
	case !slices.Contains([]string{"1", "5", "10"}, priority), pushType == "background" && priority == "10":
		return "BadPriority", priority + " for " + pushType
	case len(h.Get("apns-collapse-id")) > 64:
		return "BadCollapseId", h.Get("apns-collapse-id")
	case h.Get("apns-id") != "" && !uuid.MatchString(h.Get("apns-id")):
		return "BadMessageId", h.Get("apns-id")
	}
	if n, err := strconv.ParseInt(h.Get("apns-expiration"), 10, 64); err != nil || n < 0 {
		return "BadExpirationDate", h.Get("apns-expiration")
	}
	return "", ""
}

// checkAPS is stricter than Apple: a background push must wake and show nothing, an alert must change something.
func checkAPS(pushType string, body []byte) string {
	var p struct {
		APS map[string]json.RawMessage `json:"aps"`
	}
	if err := json.Unmarshal(body, &p); err != nil || p.APS == nil {
		return "no aps in the body"
	}
	has := func(k string) bool { _, ok := p.APS[k]; return ok }
	if pushType == "background" {
		if !bytes.Equal(p.APS["content-available"], []byte("1")) || has("alert") || has("sound") || has("badge") {
			return "background with something to show"
		}
		return ""
	}
	if !has("alert") && !has("badge") {
		return "alert with nothing to show"
	}
	return ""
}

// goAway speaks just enough HTTP/2 to read a request and to say that it will not be served.
func goAway(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	fr := http2.NewFramer(c, c)
	if fr.WriteSettings() != nil {
		return
	}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return
		}
		if _, ok := f.(*http2.HeadersFrame); ok {
			_ = fr.WriteGoAway(0, http2.ErrCodeNo, nil)
			_, _ = io.Copy(io.Discard, c) // until the client closes, or a reset could overtake the frame
			return
		}
	}
}
