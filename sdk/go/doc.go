// Package oceanchat is the client of OceanChat for Go: for bots, services and programs that people chat with.
//
// A Client is one device of one user. It connects, stays connected, and keeps the promises that programs get wrong by
// themselves: a message that was sent is in the log once, however often its connection broke; a loop over entries gets
// each of them, in the order of its conversation and without a gap; what was missed is read after a reconnect. A bot is
// three calls, see the example for the whole of it:
//
//	c, err := oceanchat.New(oceanchat.Options{URL: "http://localhost:8080", Username: "echo", Password: "…", DeviceID: "echo-1"})
//	err = c.Start(ctx)
//	for e, err := range c.Entries(ctx, oceanchat.Resume("echo")) { … c.Reply(ctx, e, "…") … }
//
// The account must be there: REST.Register makes one, as does "oceanchat chat --register --user echo".
//
// # Sending
//
// Conversation.Send returns when the server has the message; bots want that. Conversation.Enqueue returns when the Store
// has it, and the client sends it as soon as it can; Flush waits for all of them. Both keep the order within a
// conversation. Client.Reply is Send with an id made of what it answers. A message whose id the application names is sent
// once for all time; one with a random id once for as long as its Store has it.
//
// # Receiving
//
// Client.Entries is for programs: nothing is lost, and what the loop does not take yet waits in the Store or on the
// server. Client.Conversations, with what is unread, and Client.Events are for screens: the newest state, and what passes.
//
// Receiving is not reading: the user's unread number falls by Conversation.MarkRead, and by own messages.
//
// # Everything else
//
// Client.Groups and Client.Users are the calls about groups and users, FindUser and Members the two that every program
// needs; Client.Call makes any request of the contract. They wait until the client is online.
//
// # Errors and contexts
//
// What the server refuses is an *Error with a stable Reason; IsReason asks for one. A context bounds the waiting of its
// call and nothing else: ErrPending says that a message is on its way nevertheless, ErrConnectionLost that it is not known
// whether a call had an effect. Once the client is closed every call answers a *ClosedError.
//
// # Restarts
//
// With the default Store everything is forgotten with the process: the client logs in anew, and Resume begins with what
// comes after Start. Package github.com/oceanchat/oceanchat/sdk/go/sqlitestore keeps outbox, session and places in a file,
// so that a killed process goes on where it was. Close ends the client and leaves the Store to whoever opened it.
//
// # States
//
// A client is connecting, syncing, online or waiting until it is closed: by Close, or because there is no use in trying
// on, for example after its session was revoked. Client.States tells; ClosedError.Reason says why. Nothing else ends it:
// while the server is away it tries again, after a random time that grows to 20 s and begins anew after 30 s online.
// After the machine slept the connection is probed at once; Probe is for programs that know of more such moments.
//
// Package github.com/oceanchat/oceanchat/sdk/go/fakeserver is a server for the tests of programs that use this package; it also makes every fault that a
// network can.
package oceanchat
