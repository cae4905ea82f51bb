package config

import (
	"fmt"
	"strings"
	"time"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Path of the setting, for example cluster.nodes[2].address.
	Path string
	// Reason says what is wrong, Hint what to do about it.
	Reason string
	Hint   string
}

// String is the problem on one line.
func (p Problem) String() string {
	text := p.Path + ": " + p.Reason
	if p.Hint != "" {
		text += ": " + p.Hint
	}

	return text
}

// Problems is everything that is wrong with a configuration. It is an error
// when it isn't empty.
type Problems []Problem

// Error lists all problems, a line each.
func (p Problems) Error() string {
	if len(p) == 1 {
		return "refused: " + p[0].String()
	}

	var b strings.Builder

	fmt.Fprintf(&b, "refused for %d reasons:", len(p))

	for _, problem := range p {
		b.WriteString("\n  " + problem.String())
	}

	return b.String()
}

func (p *Problems) add(path, reason, hint string) {
	*p = append(*p, Problem{Path: path, Reason: reason, Hint: hint})
}

// err returns nil rather than an empty list.
func (p Problems) err() error {
	if len(p) == 0 {
		return nil
	}

	return p
}

// Validate checks the whole configuration and returns every problem at once
// (as Problems). It needs no machine: what does is in ValidateLocal. The
// certificates must be valid at the time now.
func (c *Config) Validate(now time.Time) error {
	var problems Problems

	if c.Version != 1 {
		problems.add("version", fmt.Sprintf("%d is not a version of the format", c.Version), "write 1")
	}

	c.Cluster.validate(&problems)
	c.validateNode(&problems)
	c.validatePKI(&problems, now)

	return problems.err()
}

// names joins the names of members for a sentence.
func names(members []Member) string {
	out := make([]string, 0, len(members))

	for _, m := range members {
		out = append(out, m.Name)
	}

	return strings.Join(out, ", ")
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
