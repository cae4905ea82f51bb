package metadata

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// patient goes on waiting for an answer that is late, where a new question would stand
// behind all that clients have asked meanwhile: a master whose disk is slow would never
// be heard.
type patient struct {
	// pid is the process that was asked: what it says is not the next one's word.
	pid     int
	pending <-chan answer
	cancel  context.CancelFunc
}

type answer struct {
	info Info
	err  error
}

// probe asks the process, or waits on: the end of ctx ends the wait, and not the
// question.
func (p *patient) probe(ctx context.Context, prober Prober, pid int) (Info, error) {
	if p.pid != pid {
		p.forget()
		p.pid = pid
	}

	if p.pending == nil {
		p.ask(ctx, prober)
	}

	select {
	case a := <-p.pending:
		p.forget()

		return a.info, a.err
	case <-ctx.Done():
		return Info{}, fmt.Errorf("no answer yet: %w", ctx.Err())
	}
}

func (p *patient) ask(ctx context.Context, prober Prober) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), slowPatience)
	pending := make(chan answer, 1)
	p.pending, p.cancel = pending, cancel

	go func() {
		defer close(pending)

		info, err := prober.Probe(ctx)
		pending <- answer{info, err}
	}()
}

// whenListening asks a master that isn't listening yet until it is.
type whenListening struct{ Prober }

// listeningPoll is how often it is tried.
const listeningPoll = 20 * time.Millisecond

// Probe implements Prober.
func (w whenListening) Probe(ctx context.Context) (Info, error) {
	ticker := time.NewTicker(listeningPoll)
	defer ticker.Stop()

	for {
		info, err := w.Prober.Probe(ctx)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return info, err
		}

		select {
		case <-ctx.Done():
			return Info{}, err
		case <-ticker.C:
		}
	}
}

// forget what was asked. When it returns nobody uses the prober.
func (p *patient) forget() {
	if p.pending == nil {
		return
	}

	p.cancel()

	for range p.pending {
	}

	p.pending = nil
}
