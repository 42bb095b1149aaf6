package wire_test

import (
	"testing"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/wire"
)

const sendPacket = `{"jsonrpc":"2.0","id":7,"method":"message.send","params":` + sendParams + `}`

const sendParams = `{"clientMsgId":"m1","groupId":"g1","text":{"text":"hi @bob","mentions":[{"userId":"u2","offset":3,"length":4}]}}`

func BenchmarkAppendEntry(b *testing.B) {
	m, buf := textEntry(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.AppendJSON(buf, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeSend(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var m messagev1.SendRequest
		if err := wire.UnmarshalJSON([]byte(sendParams), &m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseEnvelope(b *testing.B) {
	packet := []byte(sendPacket)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.ParseEnvelope(packet); err != nil {
			b.Fatal(err)
		}
	}
}
