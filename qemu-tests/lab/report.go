package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"text/tabwriter"
)

// Case is a named result in a report.
type Case struct {
	Name string `json:"name"`
	// Promise is what the case shows, in a sentence.
	Promise string `json:"promise"`
	Passed  bool   `json:"passed"`
	// Figures measured; times in milliseconds end in _ms.
	Figures map[string]any `json:"figures,omitempty"`
	// Failures are what was found wrong.
	Failures []string `json:"failures,omitempty"`
}

// Report is what a suite leaves in build/reports/NAME.json.
type Report struct {
	Name  string `json:"name"`
	Cases []Case `json:"cases"`

	mu sync.Mutex
}

// Add a case.
func (r *Report) Add(c Case) {
	r.mu.Lock()
	defer r.mu.Unlock()

	r.Cases = append(r.Cases, c)
}

// Write the report into dir and print it as a table.
func (r *Report) Write(dir string, w io.Writer) error {
	r.mu.Lock()
	defer r.mu.Unlock()

	err := os.MkdirAll(dir, 0o755)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}

	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}

	path := filepath.Join(dir, r.Name+".json")

	err = os.WriteFile(path, append(content, '\n'), 0o644)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}

	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)

	for _, c := range r.Cases {
		verdict := "passed"
		if !c.Passed {
			verdict = "FAILED"
		}

		fmt.Fprintf(table, "%s\t%s\t%v\n", verdict, c.Promise, c.Figures)
	}

	table.Flush()

	for _, c := range r.Cases {
		for _, failure := range c.Failures {
			fmt.Fprintf(w, "%s: %s\n", c.Name, failure)
		}
	}

	fmt.Fprintln(w, "written to", path)

	return nil
}
