package vendortest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sign(t *testing.T, m jwt.SigningMethod, kid string, key any, c jwt.MapClaims) string {
	t.Helper()
	j := jwt.NewWithClaims(m, c)
	j.Header["kid"] = kid
	s, err := j.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func do(t *testing.T, c *http.Client, r *http.Request) (int, string) {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func post(t *testing.T, to, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A fake that takes everything proves nothing: each check must refuse.
func TestAPNsChecks(t *testing.T) {
	t.Parallel()
	f := vendortest.NewAPNs(t)
	key, err := jwt.ParseECPrivateKeyFromPEM(f.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	bearer := func(kid, iss string, iat int64, k *ecdsa.PrivateKey) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", "bearer "+sign(t, jwt.SigningMethodES256, kid, k, jwt.MapClaims{"iss": iss, "iat": iat}))
		}
	}
	set := func(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }
	body := func(s string) func(*http.Request) {
		return func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(strings.NewReader(s)), int64(len(s)) }
	}
	none := func(*http.Request) {}
	tests := []struct {
		name   string
		path   string
		change func(*http.Request)
		status int
		reason string
	}{
		{"all right", "/3/device/abcd", none, 200, ""},
		{"wrong path", "/4/device/abcd", none, 404, "BadPath"},
		{"token is no hex", "/3/device/xyz", none, 400, "BadDeviceToken"},
		{"no bearer", "/3/device/abcd", func(r *http.Request) { r.Header.Del("Authorization") }, 403, "MissingProviderToken"},
		{"foreign key", "/3/device/abcd", bearer(f.KeyID, f.TeamID, now, foreign), 403, "InvalidProviderToken"},
		{"wrong kid", "/3/device/abcd", bearer("other", f.TeamID, now, key), 403, "InvalidProviderToken"},
		{"wrong team", "/3/device/abcd", bearer(f.KeyID, "other", now, key), 403, "InvalidProviderToken"},
		{"old", "/3/device/abcd", bearer(f.KeyID, f.TeamID, now-3700, key), 403, "ExpiredProviderToken"},
		{"no topic", "/3/device/abcd", set("apns-topic", ""), 400, "MissingTopic"},
		{"foreign topic", "/3/device/abcd", set("apns-topic", "other"), 400, "TopicDisallowed"},
		{"push type", "/3/device/abcd", set("apns-push-type", "loud"), 400, "InvalidPushType"},
		{"priority", "/3/device/abcd", set("apns-priority", "7"), 400, "BadPriority"},
		{"priority of background", "/3/device/abcd", set("apns-push-type", "background"), 400, "BadPriority"},
		{"expiration", "/3/device/abcd", set("apns-expiration", ""), 400, "BadExpirationDate"},
		{"collapse id", "/3/device/abcd", set("apns-collapse-id", strings.Repeat("x", 65)), 400, "BadCollapseId"},
		{"id", "/3/device/abcd", set("apns-id", "x"), 400, "BadMessageId"},
		{"too large", "/3/device/abcd", body(`{"aps":{"alert":"` + strings.Repeat("x", 4096) + `"}}`), 413, "PayloadTooLarge"},
		{"no aps", "/3/device/abcd", body(`{}`), 400, "PayloadEmpty"},
		{"nothing to show", "/3/device/abcd", body(`{"aps":{}}`), 400, "PayloadEmpty"},
	}
	c := f.Client(t)
	for i, tt := range tests {
		r := post(t, f.URL+tt.path, `{"aps":{"alert":"hi"}}`)
		bearer(f.KeyID, f.TeamID, now, key)(r)
		for k, v := range map[string]string{
			"apns-topic": f.Topic, "apns-push-type": "alert", "apns-priority": "10", "apns-expiration": "0",
		} {
			r.Header.Set(k, v)
		}
		tt.change(r)
		status, got := do(t, c, r)
		if status != tt.status || !strings.Contains(got, tt.reason) {
			t.Errorf("%s: APNs = %d %s; want %d %s", tt.name, status, got, tt.status, tt.reason)
		}
		if len(f.Problems()) != i { // the first case has none
			t.Errorf("%s: problems = %d; want one more for each refusal, %d", tt.name, len(f.Problems()), i)
		}
	}
	if len(f.Requests()) != 1 {
		t.Errorf("requests recorded = %d; want only the good one", len(f.Requests()))
	}
}

func TestFCMChecks(t *testing.T) {
	t.Parallel()
	f := vendortest.NewFCM(t)
	var acc struct {
		Key   string `json:"private_key"`
		KeyID string `json:"private_key_id"`
		Email string `json:"client_email"`
		URI   string `json:"token_uri"`
	}
	if err := json.Unmarshal(f.ServiceAccount, &acc); err != nil {
		t.Fatal(err)
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(acc.Key))
	if err != nil {
		t.Fatal(err)
	}
	c, now := f.Client(t), time.Now().Unix()
	fetch := func(iss, aud, grant string) (int, string) {
		a := sign(t, jwt.SigningMethodRS256, acc.KeyID, key, jwt.MapClaims{
			"iss": iss, "aud": aud, "iat": now, "exp": now + 3600, "scope": "https://www.googleapis.com/auth/cloud-platform",
		})
		r := post(t, acc.URI, url.Values{"grant_type": {grant}, "assertion": {a}}.Encode())
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return do(t, c, r)
	}
	const grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	for _, bad := range [][3]string{{"other", acc.URI, grant}, {acc.Email, "other", grant}, {acc.Email, acc.URI, "password"}} {
		if status, _ := fetch(bad[0], bad[1], bad[2]); status != 400 {
			t.Errorf("token endpoint for %q = %d; want 400", bad, status)
		}
	}
	if status, got := fetch(acc.Email, acc.URI, grant); status != 200 || !strings.Contains(got, "bearer-1") {
		t.Fatalf("token endpoint = %d %s; want bearer-1", status, got)
	}
	const android = `,"android":{"priority":"HIGH","ttl":"0s"}`
	tests := []struct {
		name, bearer, body string
		status             int
	}{
		{"all right", "bearer-1", `{"message":{"token":"t","data":{"a":"1"}` + android + `}}`, 200},
		{"unknown bearer", "bearer-2", `{"message":{"token":"t"` + android + `}}`, 401},
		{"number in data", "bearer-1", `{"message":{"token":"t","data":{"a":1}` + android + `}}`, 400},
		{"reserved key", "bearer-1", `{"message":{"token":"t","data":{"google.x":"1"}` + android + `}}`, 400},
		{"two targets", "bearer-1", `{"message":{"token":"t","topic":"u"` + android + `}}`, 400},
		{"no target", "bearer-1", `{"message":{"data":{"a":"1"}` + android + `}}`, 400},
		{"ttl without unit", "bearer-1", `{"message":{"token":"t","android":{"priority":"HIGH","ttl":"60"}}}`, 400},
		{"too large", "bearer-1", `{"message":{"token":"t","data":{"a":"` + strings.Repeat("x", 5000) + `"}` + android + `}}`, 400},
	}
	for _, tt := range tests {
		r := post(t, f.URL+"/v1/projects/"+f.ProjectID+"/messages:send", tt.body)
		r.Header.Set("Authorization", "Bearer "+tt.bearer)
		if status, got := do(t, c, r); status != tt.status {
			t.Errorf("%s: FCM = %d %s; want %d", tt.name, status, got, tt.status)
		}
	}
	if len(f.Requests()) != 1 {
		t.Errorf("requests recorded = %d; want only the good one", len(f.Requests()))
	}
}
