package backbone

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// QueueName names a work queue.
type QueueName string

// The work queues. A topic is the part of the subject after the queue's prefix: the event
// auth.event.user.registered is topic "user.registered" of Events.
const (
	// PushOnline holds tasks for connected devices: prefix oc.push.online., in memory, gone with
	// the server. When it is full, Publish answers ErrFull, in one process only after it waited for
	// space until ctx ended. In one process it is a direct hand-over, and tasks of one topic are
	// handled one at a time in the order published, retries included; elsewhere a task may be overtaken.
	PushOnline QueueName = "push-online"
	// PushOffline holds tasks for the vendors' push services: prefix oc.push.offline., on disk, at
	// most a day and 1 GiB; beyond that the oldest are dropped, as a vendor that is down must not
	// hold up delivery and an old notification is the one that nobody misses.
	PushOffline QueueName = "push-offline"
	// Events holds domain events: prefix auth.event., on disk, for 7 days and 1 GiB, then the
	// oldest are dropped. Every consumer name gets every event.
	Events QueueName = "events"
)

// DeadQueue is how Depth names the dead-letter stream.
const DeadQueue = "dead"

// Depth is what waits in a queue, or lies in the dead-letter stream.
type Depth struct {
	Queue        string
	Tasks, Bytes uint64
}

// Queue is work that is done at least once. Each task of PushOnline and PushOffline goes to one
// consumer, so two consumer names of one queue must not have overlapping topics.
type Queue interface {
	// Publish stores a task and returns when it is stored. topic is a subject without wildcards.
	// A second Publish with the same non-empty id within two minutes is acknowledged and stores
	// nothing. ErrFull and ErrRefused: not stored. Any other error: unknown; repeat with the same id.
	Publish(ctx context.Context, topic, id string, data []byte) error
	// Consume handles tasks until ctx ends and then returns nil once no call of c is under way.
	// All instances with the same Name share the work. It returns early only for a Consumer that
	// is not usable.
	Consume(ctx context.Context, c Consumer) error
}

// Consumer is a named worker on a Queue.
type Consumer struct {
	// Name identifies the consumer across instances and restarts: letters, digits, - and _.
	Name string
	// Topic selects tasks; it may hold the wildcards * and >. "" means all.
	Topic string
	// MaxInFlight bounds the calls of Handle at a time in this instance; 0 means 1. With 1 tasks
	// come in the order they were published, except that one that is retried comes later.
	MaxInFlight int
	// AckWait is after how long without a verdict a task is given to another instance, because this
	// one must be dead; while Handle runs it is renewed. 0 means 30 s; at least 1 s.
	AckWait time.Duration
	// MaxTries is after how many tries a task is parked; 0 means 5.
	MaxTries int
	// Handle does the work and judges. A panic counts as RetryAfter. ctx ends with Consume's.
	Handle func(ctx context.Context, t Task) Verdict
	// Parked, where set, is the alarm: t lies in the dead-letter stream. It must not block.
	Parked func(t Task, err error)
}

// Task is one piece of work.
type Task struct {
	Topic  string
	ID     string // as published; may be empty
	Data   []byte // must not be changed
	Tries  int    // which try this is, from 1
	Stored time.Time
}

// Action is what becomes of a task.
type Action uint8

// The actions. The zero value is none of them and counts as a retry.
const (
	ActDone Action = iota + 1
	ActRetry
	ActPark
)

// Verdict is Handle's answer. Use Done, RetryAfter and Park.
type Verdict struct {
	Act   Action
	After time.Duration
	Err   error
}

// Done says that the task is finished and may be forgotten.
func Done() Verdict { return Verdict{Act: ActDone} }

// RetryAfter says that the task failed with err and is to come again after d, or, if that was its
// last try, be parked.
func RetryAfter(d time.Duration, err error) Verdict {
	return Verdict{Act: ActRetry, After: d, Err: err}
}

// Park says that trying again is of no use: the task goes to the dead-letter stream OC_DEAD with
// its topic, err's text and its original headers, and is acknowledged once it lies there.
func Park(err error) Verdict { return Verdict{Act: ActPark, Err: err} }

// Judge calls c.Handle as every implementation does: a panic and a missing verdict are retries, and
// a retry after the last try is Park.
func Judge(ctx context.Context, c Consumer, t Task) (v Verdict) {
	defer func() {
		if r := recover(); r != nil {
			v = RetryAfter(time.Second, fmt.Errorf("panic: %v", r))
		}
		if v.Act != ActDone && v.Act != ActPark {
			v.Act = ActRetry
			if t.Tries >= c.MaxTries {
				v = Park(fmt.Errorf("given up after %d tries: %w", t.Tries, v.Err))
			}
		}
	}()
	return c.Handle(ctx, t)
}

// CheckConsumer refuses a Consumer that is not usable and fills in the defaults.
func CheckConsumer(c *Consumer) error {
	if err := CheckName(c.Name); err != nil {
		return err
	}
	if c.Topic == "" {
		c.Topic = ">"
	}
	if err := CheckTopic(c.Topic, true); err != nil {
		return err
	}
	if c.Handle == nil {
		return errors.New("backbone: a consumer needs Handle")
	}
	if c.AckWait <= 0 {
		c.AckWait = 30 * time.Second
	}
	if c.MaxTries <= 0 {
		c.MaxTries = 5
	}
	c.MaxInFlight, c.AckWait = max(c.MaxInFlight, 1), max(c.AckWait, time.Second)
	return nil
}
