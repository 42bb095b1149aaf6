package vendortest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TokenEndpoint is the name under which Script scripts the token endpoint of FCM; it is no valid device token.
const TokenEndpoint = "(token endpoint)"

// FCM is a stand-in for Firebase Cloud Messaging and Google's token endpoint. It is safe for concurrent use.
type FCM struct {
	*server
	// URL is the endpoint; the token endpoint stands in the service account.
	URL string
	// ServiceAccountFile is the JSON key file; ServiceAccount is what it holds.
	ServiceAccountFile string
	ServiceAccount     []byte
	// ProjectID is the Firebase project that requests must name.
	ProjectID string

	key     *rsa.PublicKey
	email   string
	kid     string
	bearers map[string]time.Time // when they end, under mu
	fetched int                  // under mu
	asked   int                  // under mu
}

// NewFCM starts a server with a fresh service account; it ends with the test.
func NewFCM(t testing.TB) *FCM {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatalf("make key: %v", err)
	}
	f := &FCM{
		server: newServer(t), ProjectID: "oceanchat-test", key: &key.PublicKey,
		email: "push@oceanchat-test.example", kid: "key-1", bearers: map[string]time.Time{},
	}
	f.URL = f.serve(t, f, 1, "h2", "http/1.1")[0]
	f.ServiceAccount, err = json.Marshal(map[string]string{
		"type": "service_account", "project_id": f.ProjectID, "private_key_id": f.kid,
		"private_key": string(keyPEM(t, key)), "client_email": f.email, "token_uri": f.URL + "/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	f.ServiceAccountFile = writeFile(t, "service-account.json", f.ServiceAccount)
	return f
}

// ExpireBearers makes all bearers that were issued invalid.
func (f *FCM) ExpireBearers() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.bearers)
}

// Fetches returns how many bearers were issued.
func (f *FCM) Fetches() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fetched
}

// Asked returns how often a bearer was asked for with a good assertion, whatever was answered.
func (f *FCM) Asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// ServeHTTP answers as Google does.
func (f *FCM) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodPost:
		f.refuseWith(w, Answer{Status: 405}, r.Method)
	case r.URL.Path == "/token":
		f.token(w, r)
	case r.URL.Path == "/v1/projects/"+f.ProjectID+"/messages:send":
		f.send(w, r)
	default:
		f.refuseWith(w, Answer{Status: 404}, "no such path "+r.URL.Path)
	}
}

func (f *FCM) token(w http.ResponseWriter, r *http.Request) {
	if why := f.checkAssertion(r); why != "" {
		f.problem("assertion: %s", why)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
		return
	}
	f.mu.Lock()
	f.asked++
	a := f.next(TokenEndpoint)
	f.mu.Unlock()
	if !f.misbehave(w, r, a) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if a.Status != 0 {
		w.WriteHeader(a.Status)
		_, _ = io.WriteString(w, a.Body)
		return
	}
	const life = 3599
	f.mu.Lock()
	f.fetched++
	b := fmt.Sprintf("bearer-%d", f.fetched)
	f.bearers[b] = f.now().Add(life * time.Second)
	f.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": b, "expires_in": life, "token_type": "Bearer"})
}

func (f *FCM) checkAssertion(r *http.Request) string {
	if g := r.PostFormValue("grant_type"); g != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return "grant_type " + g
	}
	h, c, err := verify(r.PostFormValue("assertion"), f.key)
	if err != nil {
		return err.Error()
	}
	now := time.Now().Unix() // the client's library knows no other clock
	switch {
	case h.Typ != "JWT" || h.Kid != f.kid:
		return "typ " + h.Typ + ", kid " + h.Kid
	case c.Iss != f.email:
		return "iss " + c.Iss
	case c.Aud != f.URL+"/token":
		return "aud " + c.Aud
	case !strings.Contains(c.Scope, "https://www.googleapis.com/auth/"):
		return "scope " + c.Scope
	case c.Iat > now+60 || c.Exp <= now || c.Exp-c.Iat > 3600+60:
		return fmt.Sprintf("iat %d, exp %d", c.Iat, c.Exp)
	}
	return ""
}

func (f *FCM) send(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	if !f.validBearer(r.Header.Get("Authorization")) {
		f.answer(w, Answer{Status: http.StatusUnauthorized}) // no problem of the request: it may be a planned expiry
		return
	}
	token, why := checkMessage(body)
	if why != "" {
		f.refuseWith(w, Answer{Status: 400, Reason: "INVALID_ARGUMENT"}, why)
		return
	}
	a := f.record(Request{Token: token, Header: r.Header.Clone(), Body: body})
	if f.misbehave(w, r, a) {
		f.answer(w, a)
	}
}

func (f *FCM) validBearer(h string) bool {
	b, ok := strings.CutPrefix(h, "Bearer ")
	f.mu.Lock()
	defer f.mu.Unlock()
	return ok && f.now().Before(f.bearers[b])
}

// checkMessage decodes strictly: data must hold strings, and exactly one target must be named.
func checkMessage(body []byte) (token, why string) {
	if len(body) > 4096+512 { // the limit holds for the message without its token
		return "", fmt.Sprintf("%d bytes", len(body))
	}
	var e struct {
		Message struct {
			Token     string            `json:"token"`
			Topic     string            `json:"topic"`
			Condition string            `json:"condition"`
			Data      map[string]string `json:"data"`
			Android   struct {
				Priority string `json:"priority"`
				TTL      string `json:"ttl"`
			} `json:"android"`
		} `json:"message"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return "", err.Error()
	}
	m := e.Message
	if m.Token == "" || m.Topic != "" || m.Condition != "" {
		return "", "not exactly one token as target"
	}
	if m.Android.Priority != "HIGH" && m.Android.Priority != "NORMAL" {
		return "", "priority " + m.Android.Priority
	}
	if d, err := time.ParseDuration(m.Android.TTL); err != nil || !strings.HasSuffix(m.Android.TTL, "s") || d < 0 || d > 28*24*time.Hour {
		return "", "ttl " + m.Android.TTL
	}
	return m.Token, checkData(m.Data)
}

func checkData(d map[string]string) string {
	for k := range d {
		if k == "from" || k == "message_type" || strings.HasPrefix(k, "google") || strings.HasPrefix(k, "gcm") {
			return "reserved key " + k
		}
	}
	return ""
}

func (f *FCM) refuseWith(w http.ResponseWriter, a Answer, why string) {
	f.problem("%d %s: %s", a.Status, a.Reason, why)
	f.answer(w, a)
}

// statuses are the gRPC names that Google puts beside the HTTP status.
var statuses = map[int]string{
	400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
	429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
}

func (f *FCM) answer(w http.ResponseWriter, a Answer) {
	if a.Status == 0 {
		a.Status = http.StatusOK
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(a.Status)
	switch {
	case a.Body != "":
		_, _ = io.WriteString(w, a.Body)
	case a.Status == http.StatusOK:
		f.mu.Lock()
		n := len(f.requests)
		f.mu.Unlock()
		_, _ = fmt.Fprintf(w, `{"name":"projects/%s/messages/%d"}`, f.ProjectID, n)
	default:
		_ = json.NewEncoder(w).Encode(map[string]any{"error": googleError(a)})
	}
}

func googleError(a Answer) map[string]any {
	details := []any{}
	if a.Reason != "" {
		details = append(details, map[string]any{
			"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": a.Reason,
		})
	}
	if a.BadField != "" {
		details = append(details, map[string]any{
			"@type":           "type.googleapis.com/google.rpc.BadRequest",
			"fieldViolations": []any{map[string]string{"field": a.BadField, "description": "is wrong"}},
		})
	}
	return map[string]any{"code": a.Status, "message": "scripted", "status": statuses[a.Status], "details": details}
}
