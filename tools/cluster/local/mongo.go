package local

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

func (p *Parts) prepareMongo(ctx context.Context) error {
	if p.o.Mongo != "" {
		return nil
	}
	if err := needJava(); err != nil {
		return err
	}
	path, err := build(ctx, p.bin, "mongostandin", standinPackage)
	if err != nil {
		return err
	}
	addrs, err := p.ports.take(1)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(addrs[0])
	p.Mongo = p.process("mongo", addrs[0], path, "-port", port)
	p.Mongo.check = dials
	_, _ = fmt.Fprintln(p.o.Log, "MongoDB is a stand-in that keeps everything in memory: what is stored is lost when it ends")
	return nil
}

// dials tells whether somebody listens.
func dials(ctx context.Context, p *Process) error {
	conn, err := open(ctx, p.Addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// drop deletes a database of the stand-in, which keeps all in memory. The command is one message of MongoDB's protocol
// (OP_MSG), written by hand since only the store may use the driver.
func drop(ctx context.Context, addr, database string) error {
	conn, err := open(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(dropCommand(database)); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, conn, int64(binary.LittleEndian.Uint32(size[:]))-4)
	return err
}

// dropCommand is {dropDatabase: 1, $db: database}.
func dropCommand(database string) []byte {
	const opMsg, int32Type, stringType = 2013, 0x10, 0x02
	le := binary.LittleEndian
	doc := append([]byte{int32Type}, "dropDatabase\x00\x01\x00\x00\x00"...)
	doc = append(append(doc, stringType), "$db\x00"...)
	doc = le.AppendUint32(doc, uint32(len(database)+1))
	doc = append(append(doc, database...), 0, 0)
	doc = append(le.AppendUint32(nil, uint32(len(doc)+4)), doc...)
	var msg []byte
	for _, v := range []uint32{uint32(16 + 4 + 1 + len(doc)), 1, 0, opMsg, 0} { // header and flags
		msg = le.AppendUint32(msg, v)
	}
	return append(append(msg, 0), doc...)
}
