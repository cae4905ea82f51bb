package protocol

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Commands of clients to the master, and its answers, relative to PROTO_BASE
// (which is 0) in MFSCommunication.h. Each answer is its question plus one.
const (
	cmdNop             = 0
	cmdUnknown         = 1
	cmdBadSize         = 2
	cmdForceTimeout    = 5
	cmdChunkserverList = 500
	cmdSessionList     = 508
	cmdInfo            = 510
	cmdChunksMatrix    = 516
	cmdMetaloggerList  = 522
)

// maxAnswer bounds what is read of an answer: MATOCL_MAXPACKETSIZE.
const maxAnswer = 50_000_000

// askTimeout is for callers whose context has no deadline.
const askTimeout = 5 * time.Second

// Client asks the master at one address. Each question has a connection of its
// own: it proves that the master still accepts new ones. See Kept.
type Client struct {
	// Address of the master's client port, "10.0.0.100:9421".
	Address string

	over *Line
}

// Kept is the same, but for one goroutine that has several questions: they are asked
// over one connection, until hangUp is called.
func (c Client) Kept() (kept Client, hangUp func()) {
	c.over = &Line{Client: Client{Address: c.Address}}

	return c, c.over.hangUp
}

// Probe asks the master at addr for its Info. It is the one test of whether a
// master serves: a process that runs, or a port that accepts, proves nothing.
func Probe(ctx context.Context, addr string) (Info, error) {
	return Client{Address: addr}.Info(ctx)
}

// Info asks the master about itself.
func (c Client) Info(ctx context.Context) (Info, error) {
	return parsed(ctx, c, cmdInfo, nil, parseInfo)
}

// Chunkservers asks for the chunkservers the master knows.
func (c Client) Chunkservers(ctx context.Context) ([]Chunkserver, error) {
	// Mode 1: with the maintenance time.
	return parsed(ctx, c, cmdChunkserverList, []byte{1}, parseChunkservers)
}

// Sessions asks for the clients' sessions.
func (c Client) Sessions(ctx context.Context) ([]Session, error) {
	// Mode 255: the short form.
	return parsed(ctx, c, cmdSessionList, []byte{0xff}, parseSessions)
}

// SessionRoots asks for the clients' sessions, and what each one shows.
func (c Client) SessionRoots(ctx context.Context) ([]SessionRoot, error) {
	// Mode 2: with the directory that is the session's root.
	return parsed(ctx, c, cmdSessionList, []byte{2}, parseSessionRoots)
}

// Metaloggers asks for the metaloggers that are connected.
func (c Client) Metaloggers(ctx context.Context) ([]Metalogger, error) {
	return parsed(ctx, c, cmdMetaloggerList, nil, parseMetaloggers)
}

// Health asks how many chunks lack copies.
func (c Client) Health(ctx context.Context) (Health, error) {
	return parsed(ctx, c, cmdChunksMatrix, nil, parseHealth)
}

func parsed[T any](ctx context.Context, c Client, command uint32, body []byte, parse func([]byte) (T, error)) (T, error) {
	answer, err := c.ask(ctx, command, body)
	if err != nil {
		var none T

		return none, c.failed(command, err)
	}

	return parse(answer)
}

func (c Client) failed(command uint32, err error) error {
	return fmt.Errorf("ask the master at %s (command %d): %w", c.Address, command, err)
}

func (c Client) ask(ctx context.Context, command uint32, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()

	if c.over != nil {
		return c.over.ask(ctx, command, body)
	}

	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()

	return askOver(ctx, conn, command, body)
}

func (c Client) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer

	return dialer.DialContext(ctx, "tcp", c.Address)
}

// askOver asks over a connection, which is of no more use after an error.
func askOver(ctx context.Context, conn net.Conn, command uint32, body []byte) ([]byte, error) {
	// The end of ctx ends the conversation, whether by deadline or not.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	answer, err := converse(conn, command, body)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("no answer: %w", ctx.Err())
	}

	return answer, err
}

// errRefused: the other side doesn't know the command.
var errRefused = errors.New("command is not known there")

// maxStray is how many packets other than the answer are read past.
const maxStray = 16

// converse sends a question and reads up to its answer.
func converse(conn io.ReadWriter, command uint32, body []byte) ([]byte, error) {
	_, err := conn.Write(packet(command, body))
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}

	for range maxStray {
		got, answer, err := readPacket(conn)
		if err != nil {
			return nil, err
		}

		switch got {
		case command + 1:
			return answer, nil
		case cmdNop, cmdForceTimeout:
		case cmdUnknown, cmdBadSize:
			return nil, errRefused
		default:
			return nil, fmt.Errorf("answered with %d: is this a MooseFS master?", got)
		}
	}

	return nil, fmt.Errorf("no answer among %d packets", maxStray)
}

func packet(command uint32, body []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, command)
	out = binary.BigEndian.AppendUint32(out, uint32(len(body)))

	return append(out, body...)
}

func readPacket(conn io.Reader) (uint32, []byte, error) {
	var header [8]byte

	_, err := io.ReadFull(conn, header[:])
	if err != nil {
		return 0, nil, fmt.Errorf("read header: %w", err)
	}

	command, length := binary.BigEndian.Uint32(header[:4]), binary.BigEndian.Uint32(header[4:])
	if length > maxAnswer {
		return 0, nil, fmt.Errorf("packet %d has %d bytes: is this a MooseFS master?", command, length)
	}

	// What arrives is what takes memory, not what the header promises.
	body, err := io.ReadAll(io.LimitReader(conn, int64(length)))
	if err == nil && len(body) < int(length) {
		err = io.ErrUnexpectedEOF
	}

	if err != nil {
		return 0, nil, fmt.Errorf("read packet %d: %w", command, err)
	}

	return command, body, nil
}
