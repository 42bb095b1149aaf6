package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/argon2"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// Lengths in bytes.
const (
	saltLen = 16
	hashLen = 32
)

// overloadedFor is the advice to who found the queue full.
const overloadedFor = 2 * time.Second

// hasher hashes passwords with argon2id. Each hash takes memory and a core for tens of milliseconds, so only a few run
// at a time, some wait, and the rest are refused (invariant 7).
type hasher struct {
	params params
	slots  chan struct{}
	queued atomic.Int64
	most   int64 // that may run or wait
	decoy  string
}

// params is the cost of a hash; it stands in every hash, so that a changed setting counts for new passwords only.
type params struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// hashed is a hash in its parts.
type hashed struct {
	params
	salt, key []byte
}

func newHasher(cfg Config, reg prometheus.Registerer) *hasher {
	n := cfg.HashConcurrency
	if n <= 0 {
		n = max(runtime.GOMAXPROCS(0)/2, 1)
	}
	h := &hasher{
		params: params{memory: uint32(cfg.HashMemory >> 10), time: uint32(cfg.HashTime), threads: uint8(cfg.HashThreads)},
		slots:  make(chan struct{}, n),
		most:   int64(n + cfg.HashQueue),
	}
	// A hash that no password has: checking against it takes the same work as against a real one.
	decoy := hashed{params: h.params, salt: make([]byte, saltLen), key: make([]byte, hashLen)}
	_, _ = rand.Read(decoy.salt)
	_, _ = rand.Read(decoy.key)
	h.decoy = decoy.String()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "oceanchat_auth_hashes_queued", Help: "Passwords that are hashed or wait for it.",
	}, func() float64 { return float64(h.queued.Load()) }))
	return h
}

// hash returns password's hash in PHC form, or OVERLOADED.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	out := hashed{params: h.params, salt: make([]byte, saltLen)}
	_, _ = rand.Read(out.salt)
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	out.key = out.compute(password, hashLen)
	return out.String(), nil
}

// verify tells whether password has the given hash, or returns OVERLOADED. An empty hash has no password and takes the
// same work.
func (h *hasher) verify(ctx context.Context, hash, password string) (bool, error) {
	if hash == "" {
		hash = h.decoy
	}
	want, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	if err := h.enter(ctx); err != nil {
		return false, err
	}
	defer h.leave()
	got := want.compute(password, uint32(len(want.key)))
	return subtle.ConstantTimeCompare(got, want.key) == 1, nil
}

func (h *hasher) enter(ctx context.Context) error {
	if h.queued.Add(1) > h.most {
		h.queued.Add(-1)
		return fault.New(fault.Overloaded, "too many log-ins at the same time").After(overloadedFor)
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		h.queued.Add(-1)
		return ctx.Err()
	}
}

func (h *hasher) leave() {
	<-h.slots
	h.queued.Add(-1)
}

func (p hashed) compute(password string, length uint32) []byte {
	return argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.threads, length)
}

var b64 = base64.RawStdEncoding.Strict()

// String returns the PHC form: $argon2id$v=19$m=19456,t=2,p=1$salt$key.
func (p hashed) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads,
		b64.EncodeToString(p.salt), b64.EncodeToString(p.key))
}

// parseHash reads what String wrote. Its errors never show the hash.
func parseHash(s string) (hashed, error) {
	var p hashed
	var version int
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" {
		return p, errors.New("stored password hash is not of argon2id")
	}
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return p, errors.New("stored password hash has another version")
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil || p.time == 0 || p.threads == 0 {
		return p, errors.New("stored password hash has broken parameters")
	}
	var err1, err2 error
	p.salt, err1 = b64.DecodeString(parts[4])
	p.key, err2 = b64.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(p.key) < hashLen/2 {
		return p, errors.New("stored password hash has a broken salt or key")
	}
	return p, nil
}
