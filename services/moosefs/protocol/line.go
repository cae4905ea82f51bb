package protocol

import (
	"context"
	"net"
)

// Line asks one master over a connection that it keeps, for who asks several
// times a second. Unlike a Client's, its answers don't prove that the master
// accepts new connections. It is used by one goroutine.
type Line struct {
	Client

	made int
	conn net.Conn
}

// Connections is how many were made: with another one the master may be another, too.
func (l *Line) Connections() int { return l.made }

// Info asks the master about itself, and waits for the answer until ctx ends.
func (l *Line) Info(ctx context.Context) (Info, error) {
	kept := l.conn != nil

	answer, err := l.ask(ctx, cmdInfo, nil)
	if err != nil && kept && ctx.Err() == nil {
		// It was a connection to a master that has ended since.
		answer, err = l.ask(ctx, cmdInfo, nil)
	}

	if err != nil {
		return Info{}, l.failed(cmdInfo, err)
	}

	return parseInfo(answer)
}

// ask over the connection that is kept, or a new one where there is none.
func (l *Line) ask(ctx context.Context, command uint32, body []byte) ([]byte, error) {
	if l.conn == nil {
		conn, err := l.dial(ctx)
		if err != nil {
			return nil, err
		}

		l.conn = conn
		l.made++
	}

	answer, err := askOver(ctx, l.conn, command, body)
	// A deadline that was set at the last moment would end the next question.
	if err != nil || ctx.Err() != nil {
		l.hangUp()
	}

	return answer, err
}

// hangUp closes the connection, if there is one.
func (l *Line) hangUp() {
	if l.conn != nil {
		_ = l.conn.Close() // nothing is on its way
	}

	l.conn = nil
}
