package metadata

import (
	"context"
	"fmt"
)

// Patient goes on waiting for an answer that is late, where a new question would stand
// behind all that clients have asked meanwhile: a master whose disk is slow would never
// be heard. It is used by one goroutine.
type Patient struct {
	Prober

	pending <-chan answer
}

type answer struct {
	info Info
	err  error
}

// Probe implements Prober: the end of ctx ends the wait, and not the question.
func (p *Patient) Probe(ctx context.Context) (Info, error) {
	if p.pending == nil {
		p.pending = p.ask(ctx)
	}

	select {
	case a := <-p.pending:
		p.pending = nil

		return a.info, a.err
	case <-ctx.Done():
		return Info{}, fmt.Errorf("no answer yet: %w", ctx.Err())
	}
}

func (p *Patient) ask(ctx context.Context) <-chan answer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), slowPatience)
	pending := make(chan answer, 1)

	go func() {
		defer cancel()

		info, err := p.Prober.Probe(ctx)
		pending <- answer{info, err}
	}()

	return pending
}
