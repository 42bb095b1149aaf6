// Package message is the target that writes the log: it alone appends entries. It coordinates permission (user for
// direct chats, group for groups), assembles messages, and answers when the log has them. It never reads history for
// users and never delivers; orchestrator and persistence read the log themselves. It keeps invariants 3 and 6.
package message

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/permit"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Config is the "message" section of the configuration.
type Config struct {
	MaxText        int      `yaml:"max_text" default:"5000" min:"1" max:"20000" doc:"Longest text of a message, in code points."`
	MaxMentions    int      `yaml:"max_mentions" default:"100" min:"0" max:"1000" doc:"Most mentions in a message."`
	MaxTypingGroup int      `yaml:"max_typing_group" default:"200" min:"0" doc:"Largest group whose members are told who is typing."`
	SensitiveWords []string `yaml:"sensitive_words" doc:"Words that are replaced by * in texts, without regard to case."`
	Permissions    int      `yaml:"permissions" default:"100000" min:"1" doc:"Permissions to write to groups that are kept in memory."`
}

// appendLog is what message needs of the log.
type appendLog interface {
	Run(ctx context.Context, ready func()) error
	Append(ctx context.Context, d convlog.Draft) (convlog.Result, error)
	Head(ctx context.Context, c chat.ConversationID) (convlog.Head, error)
	Heads(ctx context.Context, u chat.UserID, cs []chat.ConversationID, direct bool) ([]convlog.TailHead, error)
	Tail(ctx context.Context, c chat.ConversationID, from, to uint64, limit int, newest bool) (convlog.Tail, error)
	Positions(ctx context.Context) (epoch uint64, positions []uint64, err error)
}

// Deps is what message is plugged into.
type Deps struct {
	Log     appendLog
	Cursors store.Cursors
	Network calls.Network
	// Publish sends an ephemeral signal; it may be lost.
	Publish func(subject string, data []byte) error
	// Affinity is for several instances; nil is one instance, which tells nobody anything.
	Affinity *Affinity
}

// Service is the target. It is safe for concurrent use.
type Service struct {
	messagev1.UnimplementedMessageServiceServer
	messagev1.UnimplementedMessageInternalServiceServer

	cfg     Config
	log     *slog.Logger
	entries appendLog
	cursors store.Cursors
	publish func(subject string, data []byte) error
	users   userv1.UserInternalServiceClient
	groups  groupv1.GroupInternalServiceClient
	query   queryv1.QueryServiceClient
	gate    *permit.Gate
	permits *permits
	words   *wordFilter
	now     func() time.Time
	noise   *obs.Limiter

	affinity *affinity // nil: this is the only instance
}

// New returns a Service that does nothing before Run. cfg must be valid.
func New(cfg Config, d Deps, log *slog.Logger) *Service {
	users, groups := userv1.NewUserInternalServiceClient(d.Network), groupv1.NewGroupInternalServiceClient(d.Network)
	s := &Service{
		cfg: cfg, log: log, entries: d.Log, cursors: d.Cursors, publish: d.Publish,
		users: users, groups: groups, query: queryv1.NewQueryServiceClient(d.Network),
		gate: permit.New(users, groups), permits: newPermits(cfg.Permissions), words: newWordFilter(cfg.SensitiveWords),
		now: time.Now, noise: obs.Every(time.Minute),
	}
	if d.Affinity != nil && d.Affinity.Partitions > 0 {
		s.affinity = newAffinity(*d.Affinity, d.Publish, log, s.noise)
	}
	return s
}

// Register serves s on a host.
func (s *Service) Register(h grpc.ServiceRegistrar) {
	messagev1.RegisterMessageServiceServer(h, s)
	messagev1.RegisterMessageInternalServiceServer(h, s)
}

// Run runs the log until ctx ends; ready is called when it is caught up. Of several instances it then takes part in
// sharing out the partitions, and at the end it gives its own away before the log ends.
func (s *Service) Run(ctx context.Context, ready func()) error {
	if s.affinity == nil {
		return s.runLog(ctx, ready)
	}
	ctx, cancel := context.WithCancel(ctx)
	inner, end := context.WithCancel(context.WithoutCancel(ctx))
	caughtUp, shared := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(shared)
		defer end()
		select {
		case <-caughtUp:
			s.affinity.run(ctx)
		case <-ctx.Done():
		}
		<-ctx.Done()
	}()
	err := s.runLog(inner, func() { close(caughtUp); ready() })
	cancel()
	<-shared
	return err
}

func (s *Service) runLog(ctx context.Context, ready func()) error {
	if err := s.entries.Run(ctx, ready); err != nil {
		return fmt.Errorf("run the log: %w", err)
	}
	return nil
}

// SignalSubject carries flowv1.Signal to pusher-realtime.
const SignalSubject = "oc.signal"

// signal tells users something that may be lost.
func (s *Service) signal(ctx context.Context, sig *flowv1.Signal) {
	if len(sig.GetUserIds()) == 0 {
		return
	}
	sig.Schema = 1
	data, err := proto.Marshal(sig)
	if err == nil {
		err = s.publish(SignalSubject, data)
	}
	if err != nil {
		if n, ok := s.noise.Allow("signal"); ok {
			s.log.WarnContext(ctx, "a signal was not sent", obs.Err, err, obs.Suppressed, n)
		}
	}
}
