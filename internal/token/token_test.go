package token_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/token"
)

var start = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

func seed(b byte) []byte { return bytes.Repeat([]byte{b}, token.KeySize) }

func signer(t testing.TB, b byte) *token.Signer {
	t.Helper()
	s, err := token.NewSigner(seed(b))
	if err != nil {
		t.Fatalf("NewSigner = %v; want no error", err)
	}
	return s
}

func claims() token.Claims {
	return token.Claims{
		UserID: "ann", SessionID: "s1", DeviceID: "d1", Platform: authv1.Platform_PLATFORM_IOS,
		Issued: start, Expires: start.Add(10 * time.Minute),
	}
}

func sign(t testing.TB, s *token.Signer, c token.Claims) string {
	t.Helper()
	signed, err := s.Sign(c)
	if err != nil {
		t.Fatalf("Sign = %v; want no error", err)
	}
	return signed
}

// keys is what the signers' auth would answer, counting how often it is asked.
type keys struct {
	mu      sync.Mutex
	signers []*token.Signer
	err     error
	fetches atomic.Int64
}

func (k *keys) fetch(context.Context) ([]byte, error) {
	k.fetches.Add(1)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return nil, k.err
	}
	var all struct {
		Keys []json.RawMessage `json:"keys"`
	}
	for _, s := range k.signers {
		if err := json.Unmarshal(s.JWKS(), &all); err != nil {
			return nil, err
		}
	}
	return json.Marshal(all)
}

func (k *keys) set(err error, s ...*token.Signer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err, k.signers = err, s
}

func verifier(k *keys, now *time.Time, cache int) *token.Verifier {
	return token.NewVerifier(k.fetch, token.VerifierConfig{
		Skew: 5 * time.Second, CacheSize: cache, Now: func() time.Time { return *now },
	})
}

// TestRoundTrip: AUTH-2, AUTH-3.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	s, now := signer(t, 1), start
	c := claims()
	c.Issued = c.Issued.Add(123 * time.Millisecond)
	first := sign(t, s, c)
	if again := sign(t, s, claims()); again != first {
		t.Error("Sign twice gave two tokens; want the same")
	}
	for _, size := range []int{0, 10} {
		v := verifier(&keys{signers: []*token.Signer{s}}, &now, size)
		for range 2 {
			got, err := v.Verify(t.Context(), first)
			if err != nil {
				t.Fatalf("Verify = %v; want no error", err)
			}
			if diff := cmp.Diff(claims(), got); diff != "" {
				t.Errorf("Verify, cache %d (-want +got):\n%s", size, diff)
			}
		}
	}
}

// TestKnownAnswer: the form never changes by accident. (The key of RFC 8037, appendix A.)
func TestKnownAnswer(t *testing.T) {
	t.Parallel()
	secret, _ := hex.DecodeString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
	s, err := token.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	const kid = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
	jwks := `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",` +
		`"use":"sig","alg":"EdDSA","kid":"` + kid + `"}]}`
	if got := string(s.JWKS()); got != jwks {
		t.Errorf("JWKS() = %s; want %s", got, jwks)
	}
	parts := strings.Split(sign(t, s, claims()), ".")
	for i, want := range []string{
		`{"alg":"EdDSA","kid":"` + kid + `","typ":"JWT"}`,
		`{"iss":"oceanchat","sub":"ann","sid":"s1","did":"d1","plt":"ios","iat":1778051289,"exp":1778051889}`,
	} {
		if got, _ := base64.RawURLEncoding.DecodeString(parts[i]); string(got) != want {
			t.Errorf("part %d of the token = %s; want %s", i, got, want)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		at   time.Duration // since Issued
		want fault.Reason  // "": valid
	}{
		{"at once", 0, ""},
		{"just before the end", 10*time.Minute - time.Second, ""},
		{"within the skew", 10*time.Minute + 4*time.Second, ""},
		{"past the skew", 10*time.Minute + 5*time.Second, fault.TokenExpired},
		{"a clock that is a little behind", -5 * time.Second, ""},
		{"issued in the future", -6 * time.Second, fault.TokenInvalid},
	}
	for _, size := range []int{0, 10} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, cache %d", tt.name, size), func(t *testing.T) {
				t.Parallel()
				s, now := signer(t, 1), start
				v := verifier(&keys{signers: []*token.Signer{s}}, &now, size)
				signed := sign(t, s, claims())
				if tt.at > 0 { // it is remembered from when it was valid
					if _, err := v.Verify(t.Context(), signed); err != nil {
						t.Fatal(err)
					}
				}
				now = start.Add(tt.at)
				if _, err := v.Verify(t.Context(), signed); fault.ReasonOf(err) != tt.want {
					t.Errorf("Verify %v after issue = %v; want %q", tt.at, err, tt.want)
				}
			})
		}
	}
}

// forge returns a token with any header and claims, signed by private with method.
func forge(t testing.TB, method jwt.SigningMethod, private any, header map[string]any, c jwt.Claims) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, c)
	maps.Copy(tok.Header, header)
	s, err := tok.SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestForged(t *testing.T) {
	t.Parallel()
	s, now := signer(t, 1), start
	v := verifier(&keys{signers: []*token.Signer{s}}, &now, 10)
	good := sign(t, s, claims())
	parts := strings.Split(good, ".")
	private := ed25519.NewKeyFromSeed(seed(1))
	public := []byte(private.Public().(ed25519.PublicKey))
	var head map[string]any
	raw, _ := base64.RawURLEncoding.DecodeString(parts[0])
	if err := json.Unmarshal(raw, &head); err != nil {
		t.Fatal(err)
	}
	kid := map[string]any{"kid": head["kid"]}
	full := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{
			"iss": "oceanchat", "sub": "ann", "sid": "s1", "did": "d1", "plt": "ios",
			"iat": start.Unix(), "exp": start.Add(time.Minute).Unix(),
		}
		change(c)
		return c
	}
	same := func(jwt.MapClaims) {}
	without := func(k string) func(jwt.MapClaims) { return func(c jwt.MapClaims) { delete(c, k) } }
	with := func(k string, v any) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c[k] = v } }
	own := func(change func(jwt.MapClaims)) string {
		return forge(t, jwt.SigningMethodEdDSA, private, kid, full(change))
	}
	if _, err := v.Verify(t.Context(), own(same)); err != nil {
		t.Fatalf("Verify of the model = %v; want no error, or this test proves nothing", err)
	}
	tests := []struct {
		name, token string
		want        fault.Reason
	}{
		{"nothing", "", fault.TokenMissing},
		{"no token", "hello", fault.TokenInvalid},
		{"two parts", parts[0] + "." + parts[1], fault.TokenInvalid},
		{"no signature", parts[0] + "." + parts[1] + ".", fault.TokenInvalid},
		{"another signature", good[:len(good)-6] + "AAAAAA", fault.TokenInvalid},
		{"padding", good + "=", fault.TokenInvalid},
		{"much too long", strings.Repeat("a", 1<<20), fault.TokenInvalid},
		{"alg none", forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid, full(same)), fault.TokenInvalid},
		{"HMAC with the public key", forge(t, jwt.SigningMethodHS256, public, kid, full(same)), fault.TokenInvalid},
		{"another's key under our id", forge(t, jwt.SigningMethodEdDSA, ed25519.NewKeyFromSeed(seed(9)), kid, full(same)), fault.TokenInvalid},
		{"no key id", forge(t, jwt.SigningMethodEdDSA, private, nil, full(same)), fault.TokenInvalid},
		{"a key id of another type", forge(t, jwt.SigningMethodEdDSA, private, map[string]any{"kid": 7}, full(same)), fault.TokenInvalid},
		{"an unknown key id", forge(t, jwt.SigningMethodEdDSA, private, map[string]any{"kid": "x"}, full(same)), fault.TokenInvalid},
		{"another issuer", own(with("iss", "else")), fault.TokenInvalid},
		{"another issuer, expired", own(func(c jwt.MapClaims) { c["iss"], c["exp"] = "else", 1 }), fault.TokenInvalid},
		{"no issuer", own(without("iss")), fault.TokenInvalid},
		{"no end", own(without("exp")), fault.TokenInvalid},
		{"no start", own(without("iat")), fault.TokenInvalid},
		{"no session", own(without("sid")), fault.TokenInvalid},
		{"no user", own(with("sub", "")), fault.TokenInvalid},
		{"a user id with a dot", own(with("sub", "a.b")), fault.TokenInvalid},
		{"a device of another type", own(with("did", 5)), fault.TokenInvalid},
		{"forged and expired", forge(t, jwt.SigningMethodEdDSA, ed25519.NewKeyFromSeed(seed(9)), kid, full(with("exp", 1))), fault.TokenInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := v.Verify(t.Context(), tt.token)
			if fault.ReasonOf(err) != tt.want || c != (token.Claims{}) {
				t.Errorf("Verify = %+v, %v; want nothing, %s", c, err, tt.want)
			}
			if f := fault.Of(err); f.Err != nil || len(tt.token) > 4 && strings.Contains(f.Error(), tt.token) {
				t.Errorf("Verify = %v with cause %v; want no hint", err, f.Err)
			}
		})
	}
	t.Run("a platform of a newer version", func(t *testing.T) {
		t.Parallel()
		if c, err := v.Verify(t.Context(), own(with("plt", "watch"))); err != nil || c.Platform != 0 {
			t.Errorf("Verify = %v, %v; want an unspecified platform", c.Platform, err)
		}
	})
}

// TestRotation: a new key is found at once, an unknown one asks auth at most once per interval, and a key that auth
// no longer lists ends the tokens that are remembered.
func TestRotation(t *testing.T) {
	t.Parallel()
	now, k := start, &keys{}
	one, two, three := signer(t, 1), signer(t, 2), signer(t, 3)
	k.set(nil, one)
	v := verifier(k, &now, 10)
	verify := func(s *token.Signer, want fault.Reason, fetches int64) {
		t.Helper()
		_, err := v.Verify(t.Context(), sign(t, s, claims()))
		if fault.ReasonOf(err) != want || k.fetches.Load() != fetches {
			t.Errorf("Verify = %v after %d fetches; want %q after %d", err, k.fetches.Load(), want, fetches)
		}
	}
	verify(one, "", 1)
	verify(one, "", 1)
	verify(two, fault.TokenInvalid, 1) // too early to ask again
	now = now.Add(31 * time.Second)
	k.set(nil, one, two)
	verify(two, "", 2)
	verify(three, fault.TokenInvalid, 2)
	now = now.Add(31 * time.Second)
	k.set(nil, two)
	verify(three, fault.TokenInvalid, 3)
	verify(one, fault.TokenInvalid, 3)
	verify(two, "", 3)
}

func TestKeysUnavailable(t *testing.T) {
	t.Parallel()
	now, k, s := start, &keys{}, signer(t, 1)
	k.set(errors.New("auth is down"))
	v := verifier(k, &now, 0)
	signed := sign(t, s, claims())
	for range 3 {
		if _, err := v.Verify(t.Context(), signed); !fault.IsReason(err, fault.Overloaded) {
			t.Errorf("Verify without keys = %v; want %s: the token may be good", err, fault.Overloaded)
		}
	}
	if n := k.fetches.Load(); n != 1 {
		t.Errorf("%d fetches within a second; want 1", n)
	}
	k.set(nil, s)
	now = now.Add(time.Second)
	if _, err := v.Verify(t.Context(), signed); err != nil {
		t.Errorf("Verify when auth is back = %v; want no error", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	v = verifier(k, &now, 0)
	_, _ = v.Verify(gone, signed)
	if _, err := v.Verify(t.Context(), signed); err != nil {
		t.Errorf("Verify after a caller that left = %v; want no error", err)
	}
}

func TestSingleFlight(t *testing.T) {
	t.Parallel()
	now, k := start, &keys{}
	s := signer(t, 1)
	k.set(nil, s)
	v := verifier(k, &now, 4)
	var wg sync.WaitGroup
	for i := range 32 {
		c := claims()
		c.UserID += "x"
		if i%2 == 0 {
			c.UserID += "y"
		}
		signed := sign(t, s, c)
		wg.Go(func() {
			if got, err := v.Verify(t.Context(), signed); err != nil || got.UserID != c.UserID {
				t.Errorf("Verify = %+v, %v; want the claims of %s", got, err, c.UserID)
			}
		})
	}
	wg.Wait()
	if n := k.fetches.Load(); n != 1 {
		t.Errorf("32 first tokens caused %d fetches; want 1", n)
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	r, err := token.NewRefresh(seed(7))
	if err != nil {
		t.Fatal(err)
	}
	good := r.Token("s1", 42)
	if again := r.Token("s1", 42); again != good {
		t.Errorf("Token twice = %s, %s; want the same", good, again)
	}
	if id, gen, err := r.Parse(good); id != "s1" || gen != 42 || err != nil {
		t.Errorf("Parse = %s, %d, %v; want s1, 42, nil", id, gen, err)
	}
	other, _ := token.NewRefresh(seed(8))
	tests := []struct {
		name, token string
		want        fault.Reason
	}{
		{"nothing", "", fault.TokenMissing},
		{"no dots", "abc", fault.TokenInvalid},
		{"dots only", "..", fault.TokenInvalid},
		{"another generation", "s1.43" + good[len("s1.42"):], fault.TokenInvalid},
		{"another session", "s2.42" + good[len("s1.42"):], fault.TokenInvalid},
		{"cut short", good[:len(good)-1], fault.TokenInvalid},
		{"longer", good + "A", fault.TokenInvalid},
		{"the same bits, written otherwise", good[:len(good)-1] + flipUnused(good), fault.TokenInvalid},
		{"another key", other.Token("s1", 42), fault.TokenInvalid},
		{"an access token", sign(t, signer(t, 1), claims()), fault.TokenInvalid},
		{"much too long", strings.Repeat("a.", 1<<20), fault.TokenInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if id, gen, err := r.Parse(tt.token); fault.ReasonOf(err) != tt.want || id != "" || gen != 0 {
				t.Errorf("Parse = %s, %d, %v; want %s", id, gen, err, tt.want)
			}
		})
	}
}

// flipUnused returns another last character for token that decodes to the same bytes when decoding is lax.
func flipUnused(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, token[len(token)-1])
	return alphabet[i^1 : i^1+1]
}

func TestKeyLength(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 31, 33, 64} {
		if _, err := token.NewSigner(make([]byte, n)); err == nil {
			t.Errorf("NewSigner of %d bytes = nil; want an error", n)
		}
		if _, err := token.NewRefresh(make([]byte, n)); err == nil {
			t.Errorf("NewRefresh of %d bytes = nil; want an error", n)
		}
	}
	if _, err := signer(t, 1).Sign(token.Claims{}); err == nil {
		t.Error("Sign of empty claims = nil; want an error")
	}
}

// TestNoSecretsPrinted: invariant 9.
func TestNoSecretsPrinted(t *testing.T) {
	t.Parallel()
	s := signer(t, 'k')
	r, _ := token.NewRefresh(seed('k'))
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "signer", s, "refresh", r)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "signer", s, "refresh", r)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		fmt.Fprintf(&out, verb+verb+"\n", s, r)
	}
	if strings.Contains(out.String(), "kkkk") || strings.Contains(out.String(), "107") {
		t.Errorf("printed %s; want no key in it", out.String())
	}
}

func FuzzVerify(f *testing.F) {
	s, now := signer(f, 1), start
	good := sign(f, s, claims())
	f.Add(good)
	f.Add(good[:40])
	f.Add("..")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	v := verifier(&keys{signers: []*token.Signer{s}}, &now, 100)
	f.Fuzz(func(t *testing.T, in string) {
		c, err := v.Verify(t.Context(), in)
		switch r := fault.ReasonOf(err); {
		case err == nil && in != good:
			t.Errorf("Verify(%q) = %+v; want only the signed token to pass", in, c)
		case err != nil && r != fault.TokenInvalid && r != fault.TokenMissing:
			t.Errorf("Verify(%q) = %v; want %s", in, err, fault.TokenInvalid)
		}
	})
}

func FuzzRefresh(f *testing.F) {
	r, err := token.NewRefresh(seed(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Token("s1", 7))
	f.Add("s1.7.")
	f.Add(".18446744073709551616.AA")
	f.Fuzz(func(t *testing.T, in string) {
		id, gen, err := r.Parse(in)
		if err == nil && r.Token(id, gen) != in {
			t.Errorf("Parse(%q) = %s, %d; want only tokens of Token to pass", in, id, gen)
		}
		if reason := fault.ReasonOf(err); err != nil && reason != fault.TokenInvalid && reason != fault.TokenMissing {
			t.Errorf("Parse(%q) = %v; want %s", in, err, fault.TokenInvalid)
		}
	})
}

func FuzzJWKS(f *testing.F) {
	s := signer(f, 1)
	good := sign(f, s, claims())
	f.Add(s.JWKS())
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"","kid":"a"}]}`))
	f.Fuzz(func(t *testing.T, jwks []byte) {
		v := token.NewVerifier(func(context.Context) ([]byte, error) { return jwks, nil },
			token.VerifierConfig{Now: func() time.Time { return start }})
		if c, err := v.Verify(t.Context(), good); err == nil && c.UserID != "ann" {
			t.Errorf("Verify with keys %q = %+v; want ann or an error", jwks, c)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	s, now := signer(b, 1), start
	signed := sign(b, s, claims())
	for _, size := range []int{0, 100} {
		b.Run(fmt.Sprintf("cache=%d", size), func(b *testing.B) {
			v := verifier(&keys{signers: []*token.Signer{s}}, &now, size)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), signed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
