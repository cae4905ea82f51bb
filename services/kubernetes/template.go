package kubernetes

import (
	"fmt"
	"strings"

	"antler/services/volume"
)

// Template makes the name of a volume of the names of what it is for, for
// example "${pvc.namespace}-${pvc.name}-${pv.name}". The zero value has no
// parts.
type Template []part

// part is text, or the name of a variable.
type part struct{ text, variable string }

// The variables of a template.
const (
	varClaim     = "pvc.name"
	varNamespace = "pvc.namespace"
	varPV        = "pv.name"
)

// MaxTemplate is the longest template in bytes.
const MaxTemplate = 256

// ParseTemplate reads a template. It must tell any two volumes apart: by the
// persistent volume's name, which no two have.
func ParseTemplate(text string) (Template, error) {
	if len(text) > MaxTemplate {
		return nil, fmt.Errorf("has %d bytes: write at most %d", len(text), MaxTemplate)
	}

	var (
		out  Template
		pv   bool
		rest = text
	)

	for rest != "" {
		before, after, found := strings.Cut(rest, "${")
		if before != "" {
			out = append(out, part{text: before})
		}

		if !found {
			break
		}

		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return nil, fmt.Errorf("%q has a \"${\" without its \"}\"", text)
		}

		if name != varClaim && name != varNamespace && name != varPV {
			return nil, fmt.Errorf("${%.50s} is no variable: use ${%s}, ${%s} and ${%s}", name, varPV, varNamespace, varClaim)
		}

		pv = pv || name == varPV
		out, rest = append(out, part{variable: name}), tail
	}

	if !pv {
		return nil, fmt.Errorf("%q has no ${%s}, so two claims could get the same volume: add it", text, varPV)
	}

	// What it can't be with harmless values it can never be.
	if _, err := out.name(map[string]string{paramPV: "a", paramClaim: "a", paramNamespace: "a"}); err != nil {
		return nil, err
	}

	return out, nil
}

// name returns the volume's name for the parameters that the provisioner sets.
func (t Template) name(parameters map[string]string) (string, error) {
	keys := map[string]string{varClaim: paramClaim, varNamespace: paramNamespace, varPV: paramPV}

	var b strings.Builder

	for _, p := range t {
		b.WriteString(p.text)

		if p.variable == "" {
			continue
		}

		value := parameters[keys[p.variable]]
		if value == "" {
			return "", fmt.Errorf("nobody says what ${%s} is", p.variable)
		}

		b.WriteString(value)
	}

	name := b.String()

	// A name with this beginning stands for another one.
	if strings.HasPrefix(name, hashed) {
		return "", fmt.Errorf("volume name %q must not begin with %q", name, hashed)
	}

	return name, volume.CheckName(name)
}
