package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

func formats() []string { return []string{formatTable, formatJSON, formatYAML} }

func (a *app) checkOutput() error {
	if slices.Contains(formats(), a.output) {
		return nil
	}

	return usageError{fmt.Errorf("--output %s: use %s", a.output, strings.Join(formats(), ", "))}
}

// show prints an answer: by table in words, or else whole.
func (a *app) show(answer proto.Message, table func(io.Writer) error) error {
	if a.output == formatTable {
		return table(a.Out)
	}

	return a.showData(answer, "  ")
}

// showResult prints what a command did itself: by table in a line of words.
func (a *app) showResult(result any, words string) error {
	if a.output == formatTable {
		_, err := fmt.Fprintln(a.Out, words)

		return err
	}

	raw, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}

	return a.showRaw(raw, "  ")
}

// showItem prints one answer of a stream: one line each as JSON.
func (a *app) showItem(answer proto.Message, line func(io.Writer) error) error {
	if a.output == formatTable {
		return line(a.Out)
	}

	return a.showData(answer, "")
}

func (a *app) showData(answer proto.Message, indent string) error {
	// Names as in the .proto files, and zero values too, so that a script finds
	// every key.
	raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(answer)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}

	return a.showRaw(raw, indent)
}

// showRaw prints what is JSON already.
func (a *app) showRaw(raw []byte, indent string) error {
	if a.output == formatYAML {
		return a.showYAML(raw)
	}

	var (
		out bytes.Buffer
		err error
	)

	// protojson varies its blanks on purpose; a script's diff should not.
	if indent == "" {
		err = json.Compact(&out, raw)
	} else {
		err = json.Indent(&out, raw, "", indent)
	}

	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}

	_, err = fmt.Fprintln(a.Out, out.String())

	return err
}

func (a *app) showYAML(raw []byte) error {
	var value any

	err := yaml.Unmarshal(raw, &value)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}

	out, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}

	_, err = fmt.Fprintf(a.Out, "---\n%s", out)

	return err
}

// table writes rows in columns, the first row being the heads.
func table(w io.Writer, rows [][]string) error {
	writer := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)

	for _, row := range rows {
		for i, cell := range row {
			if cell == "" {
				row[i] = "-"
			}
		}

		// The writer keeps an error for Flush.
		_, _ = fmt.Fprintln(writer, strings.Join(row, "\t"))
	}

	return writer.Flush()
}
