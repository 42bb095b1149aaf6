package auth

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/token"
)

// The names of the secrets in the store.
const (
	signingSeed = "auth.signing_seed"
	refreshKey  = "auth.refresh_key"
)

// keyring makes the secrets at the first start and keeps them for the life of the process. Of several instances that
// start together one makes them and all use those.
type keyring struct {
	store     store.Keys
	accessTTL time.Duration

	mu   sync.Mutex // guards keys
	keys *keys
}

// keys makes tokens.
type keys struct {
	signer    *token.Signer
	refresh   *token.Refresh
	accessTTL time.Duration
}

// get returns the keys, from the store at first.
func (r *keyring) get(ctx context.Context) (*keys, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.keys != nil {
		return r.keys, nil
	}
	seed, err := r.secret(ctx, signingSeed)
	if err != nil {
		return nil, err
	}
	mac, err := r.secret(ctx, refreshKey)
	if err != nil {
		return nil, err
	}
	k := &keys{accessTTL: r.accessTTL}
	if k.signer, err = token.NewSigner(seed); err != nil {
		return nil, fmt.Errorf("key %s: %w", signingSeed, err)
	}
	if k.refresh, err = token.NewRefresh(mac); err != nil {
		return nil, fmt.Errorf("key %s: %w", refreshKey, err)
	}
	r.keys = k
	return k, nil
}

func (r *keyring) secret(ctx context.Context, name string) ([]byte, error) {
	fresh := make([]byte, token.KeySize)
	_, _ = rand.Read(fresh) // never fails since Go 1.24
	stored, err := r.store.PutIfAbsent(ctx, name, fresh)
	if err != nil {
		return nil, fmt.Errorf("load key %s: %w", name, err)
	}
	return stored, nil
}

// pair returns the two tokens of a session's present generation. They depend on nothing but the session, so a pair whose
// answer was lost can be given again: the access token counts from the refresh, not from now. For a session that has
// just been started or moved on, now is the time of that, so that a new token's life is told whole.
func (k *keys) pair(s store.Session, now time.Time) (*authv1.TokenResponse, error) {
	expires := s.RefreshedAt.Add(k.accessTTL)
	access, err := k.signer.Sign(token.Claims{
		UserID: s.UserID, SessionID: s.ID, DeviceID: s.DeviceID, Platform: authv1.Platform(s.Platform),
		Issued: s.RefreshedAt, Expires: expires,
	})
	if err != nil {
		return nil, fmt.Errorf("tokens of session %s: %w", s.ID, err)
	}
	return &authv1.TokenResponse{
		AccessToken:  access,
		RefreshToken: k.refresh.Token(s.ID, s.Generation),
		ExpiresIn:    max(expires.Unix()-now.Unix(), 0),
	}, nil
}
