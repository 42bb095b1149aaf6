package oceanchat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

// maxAnswer bounds what is read of a REST answer.
const maxAnswer = 1 << 20

// REST calls what can be asked without a connection. A Client makes its own; this is for registering and for
// applications that log in by themselves. It keeps nothing and is safe for concurrent use.
type REST struct {
	URL  string // of the server, for example "https://chat.example.org"
	HTTP *http.Client
}

// Session is a log-in of one device.
type Session struct {
	AccessToken  string
	RefreshToken string
	// ExpiresIn is how long AccessToken opens connections; 0 if that is not known.
	ExpiresIn time.Duration
	UserID    string
}

// Register creates an account. An empty nickname becomes the username.
func (r REST) Register(ctx context.Context, username, password, nickname string) (*userv1.User, error) {
	var out authv1.RegisterResponse
	in := map[string]string{"username": username, "password": password, "nickname": nickname}
	if err := r.post(ctx, "/auth/register", in, &out); err != nil {
		return nil, fmt.Errorf("register %s: %w", username, err)
	}
	return out.GetUser(), nil
}

// Login opens a session for a device. A session that the device had before ends, with every connection of it.
func (r REST) Login(ctx context.Context, username, password, deviceID string, platform authv1.Platform) (Session, error) {
	var out authv1.TokenResponse
	in := map[string]string{"username": username, "password": password, "deviceId": deviceID, "platform": platformName(platform)}
	if err := r.post(ctx, "/auth/login", in, &out); err != nil {
		return Session{}, fmt.Errorf("log in %s: %w", username, err)
	}
	return sessionOf(&out), nil
}

// Refresh exchanges a refresh token, which works once. Repeat it with the same token when no answer came: for 60 s the
// answer is the same.
func (r REST) Refresh(ctx context.Context, refreshToken string) (Session, error) {
	var out authv1.TokenResponse
	if err := r.post(ctx, "/auth/refresh", map[string]string{"refreshToken": refreshToken}, &out); err != nil {
		return Session{}, fmt.Errorf("refresh the session: %w", err)
	}
	return sessionOf(&out), nil
}

func sessionOf(t *authv1.TokenResponse) Session {
	return Session{
		AccessToken: t.GetAccessToken(), RefreshToken: t.GetRefreshToken(),
		ExpiresIn: time.Duration(t.GetExpiresIn()) * time.Second, UserID: t.GetUser().GetUserId(),
	}
}

// platformName returns the name that JSON has for a platform.
func platformName(p authv1.Platform) string {
	return strings.ToLower(strings.TrimPrefix(p.String(), "PLATFORM_"))
}

func (r REST) post(ctx context.Context, path string, in any, out proto.Message) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(r.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	client := r.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return answered(resp, data)
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, out); err != nil {
		return fmt.Errorf("answer of %s: %w", path, err)
	}
	return nil
}

// answered turns an answer that is no success into an *Error, also one that comes from something before the server.
func answered(resp *http.Response, data []byte) error {
	w := &wirev1.Error{}
	err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, w)
	if err != nil || w.GetCode() == "" {
		w = &wirev1.Error{Code: "UNAVAILABLE", Message: "status " + resp.Status}
	}
	e := fromWire(w)
	if seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")); e.RetryAfter == 0 && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}
