// Package handler is the program that the kernel runs as DRBD's handler: the module
// parameter usermode_helper names it. It is a program of its own, and a small one,
// because writes are frozen while it starts.
package handler

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

// Socket is where antlerd answers (replication.HandlerServer).
const Socket = "/run/antler/drbd.sock"

// FencePeer is the one handler whose answer matters. All others of drbd.conf(5) only
// tell, and `drbdsetup events2` tells the same.
const FencePeer = "fence-peer"

// Exit codes of fence-peer, from drbd_nl.c of DRBD 8.4.
const (
	// Outdated: the peer is outdated, I/O goes on.
	Outdated = 4
	// Refused is none that DRBD knows ("fence-peer helper broken"): I/O stays
	// frozen. 5 (unreachable) would not do: DRBD then takes the peer for outdated
	// if its own disk is UpToDate.
	Refused = 1
)

// deadline is how long the handler tries to get an answer: antlerd may be
// restarting, or the quorum be electing. I/O stays frozen meanwhile and also
// afterwards; then ReplicaController goes on asking.
const deadline = 60 * time.Second

// retry is the pause before the next try to reach antlerd.
const retry = 50 * time.Millisecond

// Main is the whole program: args are the process's without its own name, getenv is
// os.Getenv. It returns the exit code. There is no PATH, no terminal, and a kernel
// that waits.
func Main(args []string, getenv func(string) string, socket string) int {
	if len(args) < 2 || args[0] != FencePeer {
		return 0
	}

	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()

	return ask(ctx, socket, fmt.Sprintf("%s %s %s %s\n",
		args[0], args[1], getenv("DRBD_PEER_AF"), getenv("DRBD_PEER_ADDRESS")))
}

// ask antlerd until there is an answer or ctx ends.
func ask(ctx context.Context, socket, question string) int {
	for {
		code, err := askOnce(ctx, socket, question)
		if err == nil {
			return code
		}

		select {
		case <-ctx.Done():
			return Refused
		case <-time.After(retry):
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

	if code != Outdated {
		return Refused, nil
	}

	return Outdated, nil
}
