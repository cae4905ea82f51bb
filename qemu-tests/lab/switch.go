package lab

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// maxFrame is the longest Ethernet frame QEMU sends: 64 KiB with offloads.
const maxFrame = 1 << 17

// Link is one direction between two machines.
type Link struct{ From, To string }

// Rule is what happens to the frames of a Link.
type Rule struct {
	// Cut drops everything.
	Cut bool
	// Drop is the share of frames lost, 0..1.
	Drop float64
	// Delay is added to each frame, and of Jitter another share to each.
	Delay, Jitter time.Duration
	// Twice is the share of frames that come twice, 0..1.
	Twice float64
}

// Switch is the network between machines: an Ethernet switch that floods (with
// three machines learning would save nothing) and obeys a Rule per direction.
// Each machine's QEMU connects to its own unix socket with `-netdev stream`,
// again after each power cut.
type Switch struct {
	mu     sync.Mutex
	ports  map[string]*port
	rules  map[Link]Rule
	random *rand.Rand
}

// queueLength is how many frames wait for a machine before more are dropped,
// as a real switch does: a paused machine must not hold up the others.
const queueLength = 1024

type port struct {
	name     string
	listener net.Listener

	mu   sync.Mutex
	line *line
}

// line is a machine's connection, from when it has power until it is cut: what waits for
// it then is lost, and not for the next.
type line struct {
	conn  net.Conn
	queue chan []byte
	cut   chan struct{}
}

// NewSwitch returns a switch without ports; seed drives the losses.
func NewSwitch(seed uint64) *Switch {
	return &Switch{
		ports:  map[string]*port{},
		rules:  map[Link]Rule{},
		random: rand.New(rand.NewPCG(seed, seed)),
	}
}

// Plug adds the port of a machine and listens on the unix socket at path.
func (s *Switch) Plug(name, path string) error {
	_ = os.Remove(path)

	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("open the switch's port for %s: %w", name, err)
	}

	p := &port{name: name, listener: listener}

	s.mu.Lock()
	s.ports[name] = p
	s.mu.Unlock()

	go s.serve(p)

	return nil
}

// Close unplugs every machine.
func (s *Switch) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()

	for _, p := range s.ports {
		p.listener.Close()
		p.attach(nil)
	}
}

// Set puts a rule on one direction; the zero Rule heals it.
func (s *Switch) Set(link Link, rule Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()

	s.rules[link] = rule
}

// Cut cuts both directions between a and each of others.
func (s *Switch) Cut(a string, others ...string) { s.both(Rule{Cut: true}, a, others) }

// Heal restores both directions between a and each of others.
func (s *Switch) Heal(a string, others ...string) { s.both(Rule{}, a, others) }

// HealAll restores every direction.
func (s *Switch) HealAll() {
	s.mu.Lock()
	defer s.mu.Unlock()

	clear(s.rules)
}

func (s *Switch) both(rule Rule, a string, others []string) {
	for _, b := range others {
		s.Set(Link{a, b}, rule)
		s.Set(Link{b, a}, rule)
	}
}

func (s *Switch) serve(p *port) {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}

		p.attach(conn)
		s.pump(p, conn)
		p.attach(nil)
	}
}

// pump forwards what one machine sends until its QEMU is gone.
func (s *Switch) pump(from *port, conn net.Conn) {
	frame := make([]byte, 4+maxFrame)

	for {
		_, err := io.ReadFull(conn, frame[:4])
		if err != nil {
			return
		}

		length := binary.BigEndian.Uint32(frame)
		if length > maxFrame {
			return
		}

		_, err = io.ReadFull(conn, frame[4:4+length])
		if err != nil {
			return
		}

		s.flood(from, frame[:4+length])
	}
}

func (s *Switch) flood(from *port, frame []byte) {
	frame = append([]byte(nil), frame...)

	s.mu.Lock()
	defer s.mu.Unlock()

	for name, to := range s.ports {
		if to == from {
			continue
		}

		rule := s.rules[Link{from.name, name}]

		if rule.Cut || rule.Drop > 0 && s.random.Float64() < rule.Drop {
			continue
		}

		s.carry(frame, to, rule)

		if rule.Twice > 0 && s.random.Float64() < rule.Twice {
			s.carry(frame, to, rule)
		}
	}
}

// carry the frame, which may take time. The lock is held.
func (s *Switch) carry(frame []byte, to *port, rule Rule) {
	delay := rule.Delay
	if rule.Jitter > 0 {
		delay += time.Duration(s.random.Int64N(int64(rule.Jitter)))
	}

	if delay == 0 {
		to.send(frame)

		return
	}

	time.AfterFunc(delay, func() { to.send(frame) })
}

func (p *port) send(frame []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.line == nil {
		return
	}

	select {
	case p.line.queue <- frame:
	default:
	}
}

// drain writes to the machine until its line is cut.
func (l *line) drain() {
	for {
		select {
		case <-l.cut:
			return
		case frame := <-l.queue:
			// An error means that the machine lost its power; pump sees it as well.
			_, _ = l.conn.Write(frame)
		}
	}
}

// attach the machine's next connection; nil for none.
func (p *port) attach(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()

	if p.line != nil {
		p.line.conn.Close()
		close(p.line.cut)
		p.line = nil
	}

	if conn != nil {
		p.line = &line{conn: conn, queue: make(chan []byte, queueLength), cut: make(chan struct{})}
		go p.line.drain()
	}
}
