package bench

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "accounts.jsonl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const accountLine = `{"userId":"u%d","username":"n%d","accessToken":%q,"refreshToken":"r%d","deviceId":"d","platform":"bot"}` + "\n"

func tokenUntil(at time.Time) string {
	return "h." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, at.Unix())) + ".s"
}

func TestReadAccounts(t *testing.T) {
	t.Parallel()
	a, err := readAccounts(file(t, fmt.Sprintf(accountLine, 1, 1, "t", 1)+"\n"+fmt.Sprintf(accountLine, 2, 2, "t", 2)))
	if err != nil {
		t.Fatal(err)
	}
	want := []account{
		{UserID: "u1", Username: "n1", AccessToken: "t", RefreshToken: "r1", DeviceID: "d", Platform: "bot"},
		{UserID: "u2", Username: "n2", AccessToken: "t", RefreshToken: "r2", DeviceID: "d", Platform: "bot"},
	}
	if diff := cmp.Diff(want, a.all); diff != "" {
		t.Errorf("readAccounts (-want +got):\n%s", diff)
	}
	if err := a.enough(2); err != nil {
		t.Errorf("enough(2) = %v; want nil", err)
	}
	if err := a.enough(3); err == nil || !strings.Contains(err.Error(), "has 2 accounts; the scenarios need 3") {
		t.Errorf("enough(3) = %v", err)
	}
	a.all[1].UserID = "u1"
	if err := a.enough(2); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("enough of one user = %v; want an error", err)
	}
	for _, bad := range []string{"{", `{"userId":"u"}`, "[]"} {
		if _, err := readAccounts(file(t, bad)); err == nil || !strings.Contains(err.Error(), "accounts.jsonl:1") {
			t.Errorf("readAccounts(%q) = %v; want the line", bad, err)
		}
	}
}

// Sessions that end soon are refreshed, once each, and written back at once: a refresh token works once. A limit of the
// server is obeyed.
func TestRefresh(t *testing.T) {
	t.Parallel()
	soon, later := tokenUntil(time.Now().Add(time.Minute)), tokenUntil(time.Now().Add(time.Hour))
	path := file(t, fmt.Sprintf(accountLine, 1, 1, soon, 1)+fmt.Sprintf(accountLine, 2, 2, later, 2)+fmt.Sprintf(accountLine, 3, 3, soon, 3))
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = fmt.Fprint(w, `{"code":"RESOURCE_EXHAUSTED","reason":"RATE_LIMITED","message":"","retryAfterMs":1}`)
			return
		}
		_, _ = fmt.Fprint(w, `{"accessToken":"fresh","refreshToken":"next","expiresIn":600,"user":{"userId":"u1"}}`)
	}))
	defer s.Close()
	defer goodHTTP.CloseIdleConnections()
	a, err := readAccounts(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.refresh(t.Context(), doorsOf(s.URL), 2, nil); err != nil {
		t.Fatalf("refresh = %v; want nil", err)
	}
	if got := asked.Load(); got != 2 {
		t.Errorf("asked %d times; want 2: once limited, once for the one of two that ends soon", got)
	}
	back, err := readAccounts(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(a.all, back.all); diff != "" || back.all[0].RefreshToken != "next" || back.all[1].AccessToken != later || back.all[2].AccessToken != soon {
		t.Errorf("the file after refreshing two = %+v (-want +got):\n%s", back.all, diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode = %v, %v; want 0600", info.Mode(), err)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_800_000_000, 0)
	if got, ok := expiry(tokenUntil(at)); !ok || !got.Equal(at) {
		t.Errorf("expiry = %v, %t; want %v", got, ok, at)
	}
	for _, none := range []string{"", "s1.4", "a.b.c", "a.e30.c"} {
		if _, ok := expiry(none); ok {
			t.Errorf("expiry(%q) = true; want false", none)
		}
	}
}
