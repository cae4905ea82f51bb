package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/siderolabs/go-procfs/procfs"
	"go.yaml.in/yaml/v3"
)

// DefaultPath is where a node's configuration lies.
const DefaultPath = "/etc/antler/config.yaml"

// KernelParameter names a configuration file on the kernel command line:
// antler.config=/path/to/config.yaml
const KernelParameter = "antler.config"

// Defaults of Storage.
const (
	DefaultCopies    = 2
	DefaultTrashTime = 86400
)

// Path chooses the configuration file: the kernel command line wins over the
// path given to antlerd, since it is what a person at the boot prompt has.
func Path(given string, cmdline *procfs.Cmdline) string {
	if cmdline != nil {
		if path := cmdline.Get(KernelParameter).First(); path != nil && *path != "" {
			return *path
		}
	}

	if given != "" {
		return given
	}

	return DefaultPath
}

// LoadFile reads and validates the configuration at path. Nothing is touched.
func LoadFile(path string, now time.Time) (*Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w: put the file there that `antlerctl gen config` made for this node", err)
	}

	cfg, err := Load(raw)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}

	err = cfg.Validate(now)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}

	return cfg, nil
}

// Load decodes a configuration and fills in the defaults. Call Validate next.
func Load(raw []byte) (*Config, error) {
	cfg := &Config{Cluster: Cluster{Storage: Storage{
		Copies:     DefaultCopies,
		TrashTime:  DefaultTrashTime,
		Durability: DurabilitySafe,
	}}}

	err := Decode(raw, cfg)
	if err != nil {
		return nil, err
	}

	return cfg, nil
}

// Decode decodes one YAML document strictly: a key that isn't known is an
// error, since a setting that is silently ignored is worse than one refused.
func Decode(raw []byte, into any) error {
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	decoder.KnownFields(true)

	err := decoder.Decode(into)
	if errors.Is(err, io.EOF) {
		return errors.New("the file is empty")
	}

	if err != nil {
		return explain(raw, err)
	}

	err = decoder.Decode(new(yaml.Node))
	if !errors.Is(err, io.EOF) {
		return errors.New("the file has more than one YAML document: remove what follows the second `---`")
	}

	return nil
}

var (
	unknownKey = regexp.MustCompile(`^line (\d+): field (\S+) not found in type .*$`)
	// An ssh key is what people look for first on a small board.
	sshKey      = regexp.MustCompile(`(?i)unknown key "(ssh.*|authorized_?keys)"$`)
	quotedValue = regexp.MustCompile(`"([^"]*)"`)
	// As package netip says it.
	noLength  = regexp.MustCompile(`netip\.ParsePrefix\("([^"]*)"\): no '/'`)
	noPrefix  = regexp.MustCompile(`netip\.ParsePrefix\("([^"]*)"\): `)
	noAddress = regexp.MustCompile(`ParseAddr\("([^"]*)"\): `)
)

// explain puts the decoder's words into a person's.
func explain(raw []byte, err error) error {
	var typeErr *yaml.TypeError
	if !errors.As(err, &typeErr) {
		return locate(raw, err)
	}

	lines := make([]string, 0, len(typeErr.Errors))

	for _, text := range typeErr.Errors {
		line := unknownKey.ReplaceAllString(text, `line $1: unknown key "$2"`)
		if sshKey.MatchString(line) {
			line += ": a node has no ssh server, by design: remove it; node.debug.consoleShell opens a root shell on the console, and antlerctl does all else"
		}

		lines = append(lines, line)
	}

	return errors.New(strings.Join(lines, "\n"))
}

// locate adds the line to an error about a value (an address, mostly), which
// the decoder leaves out.
func locate(raw []byte, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	quoted := quotedValue.FindStringSubmatch(text)
	text = noLength.ReplaceAllString(text, "$1 lacks the length of its network: write $1/24, if that has 24 bits")
	text = noPrefix.ReplaceAllString(text, "$1 is not an address with the length of its network, such as 192.168.1.250/24: ")
	text = noAddress.ReplaceAllString(text, "$1 is not an IP address: ")

	var root yaml.Node
	if quoted == nil || yaml.Unmarshal(raw, &root) != nil {
		return errors.New(text)
	}

	line := findScalar(&root, quoted[1])
	if line == 0 {
		return errors.New(text)
	}

	return fmt.Errorf("line %d: %s", line, text)
}

func findScalar(node *yaml.Node, value string) int {
	if node.Kind == yaml.ScalarNode && node.Value == value {
		return node.Line
	}

	for _, child := range node.Content {
		if line := findScalar(child, value); line != 0 {
			return line
		}
	}

	return 0
}

// MarshalYAML leaves an unset gateway out: the encoder can't tell by itself
// whether a netip.Addr is set, and would leave it out always.
func (n Network) MarshalYAML() (any, error) {
	out := struct {
		MAC       string         `yaml:"mac,omitempty"`
		Interface string         `yaml:"interface,omitempty"`
		DHCP      bool           `yaml:"dhcp,omitempty"`
		Addresses []netip.Prefix `yaml:"addresses,omitempty"`
		Gateway   string         `yaml:"gateway,omitempty"`
		DNS       []netip.Addr   `yaml:"dns,omitempty"`
		NTP       []string       `yaml:"ntp,omitempty"`
	}{MAC: n.MAC, Interface: n.Interface, DHCP: n.DHCP, Addresses: n.Addresses, DNS: n.DNS, NTP: n.NTP}

	if n.Gateway.IsValid() {
		out.Gateway = n.Gateway.String()
	}

	return out, nil
}
