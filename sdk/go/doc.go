// Package oceanchat is the client of OceanChat for Go: for bots, services and programs that people chat with.
//
// A Client is one device of one user. It connects, stays connected, and keeps the promises that programs get wrong by
// themselves: a message that was sent is in the log once, however often its connection broke; a loop over entries gets
// each of them, in the order of its conversation and without a gap; what was missed is read after a reconnect. A bot is
// three calls, see the example:
//
//	c, err := oceanchat.New(oceanchat.Options{URL: "http://localhost:8080", Username: "echo", Password: "…", DeviceID: "echo-1"})
//	err = c.Start(ctx)
//	for e, err := range c.Entries(ctx, oceanchat.Resume("echo")) { … }
//
// # Sending
//
// Conversation.Send returns when the server has the message; bots want that. Conversation.Enqueue returns when the Store
// has it, and the client sends it as soon as it can. Both keep the order within a conversation.
//
// # Receiving
//
// Client.Entries is for programs: nothing is lost, and what the loop does not take yet waits in the Store or on the
// server. Client.Conversations and Client.Events are for screens: the newest state, and what passes.
//
// Receiving is not reading: the user's unread number falls by Conversation.MarkRead, and by own messages.
//
// # Restarts
//
// With the default Store everything is forgotten with the process: the client logs in anew, and Resume begins with what comes after Start.
// Package sqlitestore keeps outbox, session and places in a file, so that a killed process goes on where it was.
//
// # States
//
// A client is connecting, syncing, online or waiting until it is closed: by Close, or because there is no use in trying
// on, for example after its session was revoked. Client.States tells; ClosedError.Reason says why. Nothing else ends it:
// while the server is away it tries again, after a random time that grows to 20 s.
//
// Package fakeserver is a server for the tests of programs that use this package; it also makes every fault that a
// network can.
package oceanchat
