package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// handlerFencePeer is the one handler whose answer matters.
const handlerFencePeer = "fence-peer"

// handlers are all that DRBD 8.4 may run, from drbd.conf(5).
var handlers = [...]string{
	handlerFencePeer, "unfence-peer",
	"before-resync-target", "after-resync-target", "before-resync-source", "after-resync-source",
	"split-brain", "initial-split-brain", "local-io-error", "out-of-sync", "quorum-lost",
	"pri-on-incon-degr", "pri-lost", "pri-lost-after-sb", "disconnected",
}

// IsHandler reports whether name, the first argument of the process, is that of a
// handler.
func IsHandler(name string) bool {
	for _, h := range handlers {
		if h == name {
			return true
		}
	}

	return false
}

// handlerDeadline is how long the handler tries to get an answer: antlerd may be
// restarting, or the quorum be electing. I/O stays frozen meanwhile and also
// afterwards; then ReplicaController goes on asking.
const handlerDeadline = 60 * time.Second

// handlerRetry is the pause before the next try to reach antlerd.
const handlerRetry = 50 * time.Millisecond

// HandlerMain is the whole program when the kernel runs antlerd as DRBD's
// handler: args are the process's without its own name, getenv is os.Getenv. It
// returns the exit code. There is no PATH, no terminal, and a kernel that waits.
func HandlerMain(args []string, getenv func(string) string, socket string) int {
	// All but one only tell, and `drbdsetup events2` tells the same.
	if len(args) < 2 || args[0] != handlerFencePeer {
		return 0
	}

	ctx, cancel := context.WithTimeout(context.Background(), handlerDeadline)
	defer cancel()

	return askAntlerd(ctx, socket, fmt.Sprintf("%s %s %s %s\n",
		args[0], args[1], getenv("DRBD_PEER_AF"), getenv("DRBD_PEER_ADDRESS")))
}

// askAntlerd asks until there is an answer or ctx ends.
func askAntlerd(ctx context.Context, socket, question string) int {
	for {
		code, err := askOnce(ctx, socket, question)
		if err == nil {
			return code
		}

		select {
		case <-ctx.Done():
			return exitRefused
		case <-time.After(handlerRetry):
		}
	}
}

func askOnce(ctx context.Context, socket, question string) (int, error) {
	var dialer net.Dialer

	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()

	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	_, err = conn.Write([]byte(question))
	if err != nil {
		return 0, err
	}

	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return 0, err
	}

	return parseAnswer(line)
}

// parseAnswer lets nothing pass as "outdated" but the very word for it.
func parseAnswer(line string) (int, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return 0, errors.New("empty answer")
	}

	code, err := strconv.Atoi(words[0])
	if err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}

	if code != exitOutdated {
		return exitRefused, nil
	}

	return exitOutdated, nil
}
