package netdoor_test

import (
	"net/http/httptest"
	"testing"

	"github.com/oceanchat/oceanchat/internal/netdoor"
)

func TestSameOrigin(t *testing.T) {
	t.Parallel()
	for origin, want := range map[string]bool{
		"https://chat.example": true, "http://chat.example": true, "HTTPS://CHAT.example": true,
		"": false, "null": false, "chat.example": false, "https://": false, "https://chat.example:80": false, "https://chat.example/": false,
		"https://x@chat.example": false, "https://chat.example.evil": false, "https://evil-chat.example": false, "file://chat.example": false,
		"https://evil/https://chat.example": false, "https://chat.example#": false,
	} {
		r := httptest.NewRequest("GET", "http://chat.example/", nil)
		r.Header.Set("Origin", origin)
		if got := netdoor.SameOrigin(r); got != want {
			t.Errorf("SameOrigin(%q) = %v; want %v", origin, got, want)
		}
	}
}
