package pusherrealtime

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	pusherrealtimev1 "github.com/oceanchat/oceanchat/gen/oceanchat/pusherrealtime/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// offline is the queue of offline tasks. It opens the queue when it is first needed, as gateways may hand back before
// Run is ready.
type offline struct {
	streams streams
	timeout time.Duration
	m       *metrics
	journey *journey.Recorder // nil: off

	mu    sync.Mutex // guards queue
	queue backbone.Queue
}

func (o *offline) open(ctx context.Context) (backbone.Queue, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.queue == nil {
		q, err := o.streams.Queue(ctx, backbone.PushOffline)
		if err != nil {
			return nil, fmt.Errorf("open the queue of offline tasks: %w", err)
		}
		o.queue = q
	}
	return o.queue, nil
}

// store publishes the items that have users as tasks named id, and returns when they are stored. Repeating it with the
// same items has one effect, within the queue's memory for ids.
func (o *offline) store(ctx context.Context, id string, items []*flowv1.OfflineItem) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	task, size := &flowv1.OfflineTask{Schema: schema, Id: id}, 0
	for _, i := range items {
		if len(i.GetUserIds()) == 0 {
			continue
		}
		n := proto.Size(i)
		if size+n > maxTask && len(task.Items) > 0 {
			if err := o.publish(ctx, task); err != nil {
				return err
			}
			task, size = &flowv1.OfflineTask{Schema: schema, Id: id}, 0
		}
		task.Items = append(task.Items, i)
		size += n
	}
	return o.publish(ctx, task)
}

func (o *offline) publish(ctx context.Context, task *flowv1.OfflineTask) error {
	if len(task.GetItems()) == 0 {
		return nil
	}
	q, err := o.open(ctx)
	if err != nil {
		return err
	}
	data, err := proto.Marshal(task)
	if err != nil {
		return fmt.Errorf("encode offline task: %w", err)
	}
	began := time.Now()
	if err := q.Publish(ctx, offlineTopic, task.GetId()+"."+strconv.FormatUint(xxhash.Sum64(data), 36), data); err != nil {
		return fmt.Errorf("publish offline task %s: %w", task.GetId(), err)
	}
	o.remember(task, began)
	for _, i := range task.GetItems() {
		o.m.offline.Add(float64(len(i.GetUserIds())))
	}
	return nil
}

// HandBack stores an offline task of what a device did not acknowledge. It answers when that is stored; after an error
// the gateway repeats it.
func (s *Service) HandBack(ctx context.Context, req *pusherrealtimev1.HandBackRequest) (*pusherrealtimev1.HandBackResponse, error) {
	s.m.handedBack.Add(float64(len(req.GetItems())))
	var items []*flowv1.OfflineItem
	for _, i := range req.GetItems() {
		item := &flowv1.OfflineItem{Entry: i.GetEntry(), DeviceId: i.GetDeviceId()}
		for _, u := range i.GetUserIds() {
			if rings(i.GetEntry(), u) {
				item.UserIds = append(item.UserIds, u)
			}
		}
		items = append(items, item)
	}
	if err := s.offline.store(ctx, "h", items); err != nil {
		return nil, fault.Wrap(err, fault.Overloaded, "offline pushes cannot be stored now").After(time.Second)
	}
	return &pusherrealtimev1.HandBackResponse{}, nil
}
