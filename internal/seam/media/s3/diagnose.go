package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/finding"
)

const (
	checkStore = "media store"
	// diagnoseTimeout bounds a whole diagnosis.
	diagnoseTimeout = 5 * time.Second
	// cleanTimeout is for removing the probe besides.
	cleanTimeout = 2 * time.Second
	rights       = "give the key s3:GetObject, s3:PutObject and s3:DeleteObject on the objects, and s3:ListBucket on the bucket"
)

// Diagnose looks at the bucket of cfg. It puts one object of a few bytes below the prefix, named doctor- and a random
// id, reads it back, also as a stranger would, and deletes it. It ends within seven seconds.
func Diagnose(ctx context.Context, cfg Config) []finding.Finding {
	ctx, cancel := context.WithTimeout(ctx, diagnoseTimeout)
	defer cancel()
	if err := cfg.Validate(); err != nil {
		return []finding.Finding{finding.Bad(checkStore, finding.Text(err), "correct these settings")}
	}
	b, err := New(cfg)
	if err != nil {
		return []finding.Finding{finding.Bad(checkStore, finding.Text(err), "correct these settings")}
	}
	defer b.wire.CloseIdleConnections()
	e := &exam{Blobs: b, check: checkStore + " " + cfg.Endpoint, id: "doctor-" + chat.NewID()}
	return e.run(ctx)
}

// exam is one diagnosis.
type exam struct {
	*Blobs
	check string
	id    string // of the probe
}

func (e *exam) run(ctx context.Context) []finding.Finding {
	found := e.reach(ctx)
	if found.Level == finding.Problem {
		return []finding.Finding{found}
	}
	out := []finding.Finding{found}
	out = append(out, e.probe(ctx)...)
	return append(out, e.versions(ctx))
}

// reach asks for an object that is not there: only a store that knows us and lets us see its bucket says so.
func (e *exam) reach(ctx context.Context) finding.Finding {
	began := time.Now()
	body, _, _, err := e.once.GetObject(ctx, e.cfg.Bucket, e.name(e.id), minio.GetObjectOptions{})
	if err == nil {
		_ = body.Close()
		return finding.Bad(e.check, "it has an object that was never put", "look what answers at this address")
	}
	if a, _ := answer(err); a.Code == minio.NoSuchKey {
		return finding.Good(e.check, "bucket %s is there, answers in %s", e.cfg.Bucket, finding.Round(time.Since(began)))
	}
	return e.unreached(err)
}

func (e *exam) unreached(err error) finding.Finding {
	a, answered := answer(err)
	text := finding.Text(err)
	switch {
	case a.Code == minio.NoSuchBucket:
		return finding.Bad(e.check, "has no bucket "+e.cfg.Bucket, "make it, or correct its name")
	case a.Code == "InvalidAccessKeyId", a.Code == "XAdminUserNotFound", a.Code == "SignatureDoesNotMatch":
		return finding.Bad(e.check, "does not let us in: "+a.Code, "correct access_key, secret_key and region")
	case a.Code == "RequestTimeTooSkewed":
		return finding.Bad(e.check, "says that our clock is wrong", "let NTP or chrony set the clocks of both machines")
	case a.Code == minio.AccessDenied:
		return finding.Bad(e.check, "forbids it to this key, or does not tell what is missing", rights)
	case answered:
		return finding.Bad(e.check, fmt.Sprintf("answers %d %s: %s", a.StatusCode, a.Code, text), "correct endpoint, region and path_style, or look at the log of the store")
	case strings.Contains(text, "tls:"), strings.Contains(text, "x509:"), strings.Contains(text, "HTTP response to HTTPS"):
		return finding.Bad(e.check, "cannot be spoken with: "+text, "make the scheme of endpoint and ca fit the store")
	case errors.Is(err, context.DeadlineExceeded):
		return finding.Bad(e.check, "does not answer in time", "look whether it hangs, and at the network between")
	}
	return finding.Bad(e.check, "cannot be reached: "+text, "start it, or correct endpoint and the network between")
}

// probe puts an object, reads it back and deletes it.
func (e *exam) probe(ctx context.Context) []finding.Finding {
	const check = checkStore + " writes"
	content := []byte(e.id)
	began := time.Now()
	if _, err := e.once.Client.PutObject(ctx, e.cfg.Bucket, e.name(e.id), bytes.NewReader(content), int64(len(content)), e.putOptions(int64(len(content)))); err != nil {
		e.clean(ctx) //nolint:errcheck // it may not be there
		return []finding.Finding{finding.Bad(check, "fail: "+told(err), rights)}
	}
	found := []finding.Finding{e.read(ctx, content)}
	if f, ok := e.stranger(ctx); ok {
		found = append(found, f)
	}
	if err := e.clean(ctx); err != nil {
		return append(found, finding.Bad(check, "what was put cannot be deleted: "+told(err), rights+"; then delete "+e.name(e.id)))
	}
	return append(found, finding.Good(check, "an object was put, read and deleted in %s", finding.Round(time.Since(began))))
}

// clean deletes the probe, also after the time is up.
func (e *exam) clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
	defer cancel()
	return e.once.RemoveObject(ctx, e.cfg.Bucket, e.name(e.id), minio.RemoveObjectOptions{})
}

// read compares a part of the probe with what was put, and the store's clock with ours.
func (e *exam) read(ctx context.Context, want []byte) finding.Finding {
	const check = checkStore + " reads"
	var opts minio.GetObjectOptions
	if err := opts.SetRange(1, int64(len(want))-1); err != nil {
		return finding.Bad(check, finding.Text(err), rights)
	}
	sent := time.Now()
	body, _, head, err := e.once.GetObject(ctx, e.cfg.Bucket, e.name(e.id), opts)
	if err != nil {
		return finding.Bad(check, "fail: "+told(err), rights)
	}
	half := time.Since(sent) / 2
	defer body.Close()
	if got, err := io.ReadAll(io.LimitReader(body, 1<<10)); err != nil || !bytes.Equal(got, want[1:]) {
		return finding.Bad(check, "a part of an object comes back wrong", "use a store that keeps to S3: Range and If-Match")
	}
	at, err := http.ParseTime(head.Get("Date"))
	if err != nil {
		return finding.Good(check, "what was put came back")
	}
	const second = time.Second // Date has no fraction, and some servers renew it once a second
	return finding.Clock("clock of the media store", at.Add(second).Sub(sent.Add(half)), half+second)
}

// stranger tells whether anybody may read: then links and rights of OceanChat are of no use.
func (e *exam) stranger(ctx context.Context) (finding.Finding, bool) {
	const check = checkStore + " privacy"
	core, err := newCore(e.cfg, e.wire, credentials.NewStaticV4("", "", ""), 1)
	if err != nil {
		return finding.Finding{}, false
	}
	body, _, _, err := core.GetObject(ctx, e.cfg.Bucket, e.name(e.id), minio.GetObjectOptions{})
	if err == nil {
		_ = body.Close()
		return finding.Bad(check, "anybody who reaches the store may read what users sent", "take the public policy or ACL from the bucket; on AWS switch Block Public Access on"), true
	}
	if _, answered := answer(err); !answered {
		return finding.Finding{}, false
	}
	return finding.Good(check, "who has no key may not read"), true
}

// versions tells what a deleted blob leaves.
func (e *exam) versions(ctx context.Context) finding.Finding {
	const check = checkStore + " versions"
	v, err := e.once.GetBucketVersioning(ctx, e.cfg.Bucket)
	switch {
	case err != nil:
		return finding.Good(check, "not told to this key: if the bucket keeps versions, it needs a lifecycle rule that removes old ones")
	case v.Enabled():
		return finding.Warn(check, "the bucket keeps versions: what is deleted stays, unless a lifecycle rule removes old versions", "suspend versioning, or see to such a rule (NoncurrentVersionExpiration, ExpiredObjectDeleteMarker)")
	}
	return finding.Good(check, "none are kept: what is deleted is gone")
}

// told is an error as part of a line, with the store's code for it.
func told(err error) string {
	if code := codeOf(err); code != "" {
		return code + ": " + finding.Text(err)
	}
	return finding.Text(err)
}
