package bootconfig_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"antler/services/node/bootconfig"
	"antler/services/node/config"
	"antler/services/node/config/gen"
)

func now() time.Time { return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC) }

// card is a boot partition and the node's state.
type card struct {
	t          *testing.T
	boot, kept string
	// writable counts, refused makes it fail.
	writable int
	refused  error
	// note is what there is to say.
	note string
}

func newCard(t *testing.T) *card {
	t.Helper()

	return &card{t: t, boot: t.TempDir(), kept: filepath.Join(t.TempDir(), "config.yaml")}
}

func (c *card) Dir() string { return c.boot }

func (c *card) MakeWritable() error {
	c.writable++

	return c.refused
}

func (c *card) start() bootconfig.Result {
	return bootconfig.Take(c, c.kept, now(), func(*config.Config) string { return c.note })
}

func (c *card) put(name, text string) {
	c.t.Helper()
	require.NoError(c.t, os.WriteFile(filepath.Join(c.boot, name), []byte(text), 0o600))
}

func (c *card) get(name string) string {
	c.t.Helper()

	text, err := os.ReadFile(filepath.Join(c.boot, name))
	require.NoError(c.t, err)

	return string(text)
}

func (c *card) edit(from, to string) {
	c.t.Helper()
	text := c.get(bootconfig.File)
	require.Contains(c.t, text, from)
	c.put(bootconfig.File, strings.Replace(text, from, to, 1))
}

func (c *card) config() *config.Config {
	c.t.Helper()

	cfg, err := config.LoadFile(c.kept, now())
	require.NoError(c.t, err)

	return cfg
}

// generated is what `antlerctl gen config` makes for a node, with a comment.
func generated(t *testing.T) (string, *config.Config) {
	t.Helper()

	secrets, err := gen.NewSecrets("home", now())
	require.NoError(t, err)

	files, err := gen.Generate(&gen.ClusterFile{Name: "home", Nodes: []gen.Node{{
		Name: "n1", Address: netip.MustParseAddr("192.168.1.11"), Roles: []config.Role{config.RoleMetadata, config.RoleChunkserver},
		Replica: config.Replica{Device: "/dev/sda1"}, Chunks: []config.ChunkStore{{Path: "/var/lib/antler/chunks"}},
		K3s: config.K3s{Role: config.K3sServer, Token: "a-token-of-k3s"},
	}}}, secrets, now())
	require.NoError(t, err)

	raw, err := yaml.Marshal(files.Nodes[0])
	require.NoError(t, err)

	cfg, err := config.Load(raw)
	require.NoError(t, err)

	return "# the one in the cellar\n" + string(raw), cfg
}

// requireClean fails if any file of the boot partition holds a secret.
func (c *card) requireClean(cfg *config.Config) {
	c.t.Helper()

	entries, err := os.ReadDir(c.boot)
	require.NoError(c.t, err)

	for _, entry := range entries {
		text := c.get(entry.Name())
		require.NotContains(c.t, text, "PRIVATE KEY", entry.Name())

		for _, secret := range cfg.Secrets() {
			require.NotEmpty(c.t, *secret.Value, secret.Path)
			require.NotContains(c.t, text, *secret.Value, "%s in %s", secret.Path, entry.Name())
		}
	}
}

func TestFirstStartTakesOverAndClears(t *testing.T) {
	c := newCard(t)
	text, cfg := generated(t)
	c.put(bootconfig.File, text)

	result := c.start()
	require.NoError(t, result.Refused)
	require.NoError(t, result.Incomplete)
	require.Contains(t, result.Message, "n1 of cluster home")

	require.Equal(t, cfg, c.config())
	c.requireClean(cfg)
	require.Contains(t, c.get(bootconfig.File), "# the one in the cellar")
	require.Contains(t, c.get(bootconfig.StatusFile), "antler.yaml is in force: this is n1 of cluster home")

	info, err := os.Stat(c.kept)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds keys")
}

func TestNextStartWritesNothing(t *testing.T) {
	c := newCard(t)
	text, _ := generated(t)
	c.put(bootconfig.File, text)
	c.start()

	before := c.get(bootconfig.File)
	c.writable = 0
	require.Equal(t, bootconfig.Result{}, c.start())
	require.Zero(t, c.writable)
	require.Equal(t, before, c.get(bootconfig.File))
}

func TestAnEditedFileKeepsTheSecrets(t *testing.T) {
	c := newCard(t)
	text, cfg := generated(t)
	c.put(bootconfig.File, text)
	c.start()

	c.edit("trashTime: 86400", "trashTime: 60")

	result := c.start()
	require.NoError(t, result.Refused)
	require.NotEmpty(t, result.Message)

	cfg.Cluster.Storage.TrashTime = 60
	require.Equal(t, cfg, c.config())
}

// Written by hand, in ways that YAML allows.
func TestASecretThatIsMergedInIsCleared(t *testing.T) {
	for _, merged := range []string{"<<: {password: %s}", "<<: [{name: home}, {password: %s}]"} {
		t.Run(merged, func(t *testing.T) {
			c := newCard(t)
			text, cfg := generated(t)
			c.put(bootconfig.File, text)
			c.edit("    password: "+cfg.Cluster.Password+"\n", "    "+fmt.Sprintf(merged, cfg.Cluster.Password)+"\n")

			result := c.start()
			require.NoError(t, result.Refused)
			require.NoError(t, result.Incomplete)
			require.Equal(t, cfg, c.config())
			c.requireClean(cfg)

			// What was written reads back.
			c.edit("trashTime: 86400", "trashTime: 60")
			require.NoError(t, c.start().Refused)
			require.Equal(t, cfg.Cluster.Password, c.config().Cluster.Password)
		})
	}
}

// YAML lets an alias lead back to where it stands, where nobody who reads the file looks.
func TestAnAliasThatLeadsBackEndsNothing(t *testing.T) {
	c := newCard(t)
	text, cfg := generated(t)
	cfg.Node.K3s.Token = ""
	c.put(bootconfig.File, text)
	c.edit("    k3s:\n        role: server\n        token: a-token-of-k3s\n", "    <<: [{k3s: {role: server}}, {k3s: &a {<<: *a}}]\n")

	require.NoError(t, c.start().Refused)
	require.Equal(t, cfg, c.config())
}

// What a power cut leaves is never loaded, so anything may be in it.
func TestAnAliasThatLeadsBackInWhatAPowerCutLeft(t *testing.T) {
	c := newCard(t)
	text, cfg := generated(t)
	c.put(bootconfig.File, text)
	c.start()

	require.NoError(t, os.Remove(filepath.Join(c.boot, bootconfig.File)))
	c.put("antler-taken.yaml", "cluster: &a {<<: *a}\n")

	require.NoError(t, c.start().Refused)
	require.Equal(t, cfg, c.config())
}

func TestASecretThatIsNotThereStaysSo(t *testing.T) {
	c := newCard(t)
	text, _ := generated(t)
	c.put(bootconfig.File, text)
	c.edit("token: a-token-of-k3s", "token: ~")

	for range 2 {
		require.NoError(t, c.start().Refused)
		require.Empty(t, c.config().Node.K3s.Token)
	}
}

func TestASecretInACommentIsToldOf(t *testing.T) {
	c := newCard(t)
	text, cfg := generated(t)
	c.put(bootconfig.File, text+"# it was "+cfg.Cluster.AdminPassword+" before\n")

	for range 2 { // for as long as it is there
		result := c.start()
		require.NoError(t, result.Refused)
		require.ErrorContains(t, result.Incomplete, "still holds the value of cluster.adminPassword, in a comment")
		require.Contains(t, c.get(bootconfig.StatusFile), "still holds the value of cluster.adminPassword")
		require.Equal(t, cfg, c.config(), "it is in force all the same")
	}

	c.edit("# it was "+cfg.Cluster.AdminPassword+" before\n", "")
	require.NoError(t, c.start().Incomplete)
	require.NotContains(t, c.get(bootconfig.StatusFile), "Note")
	c.requireClean(cfg)
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name string
		edit func(*card)
		want string
	}{
		{"a key that is not known", func(c *card) { c.edit("version: 1", "version: 1\ncolour: red") }, `unknown key "colour"`},
		{"not YAML", func(c *card) { c.put(bootconfig.File, "version: {") }, "line 1"},
		{"a value that makes no sense", func(c *card) { c.edit("copies: 1", "copies: 12") }, "cluster.storage.copies"},
		{"another node's certificate", func(c *card) { c.edit("name: n1\n    replica", "name: n2\n    replica") }, "node.name"},
		{"far too large", func(c *card) { c.put(bootconfig.File, strings.Repeat("#", 2<<20)) }, "more than any configuration"},
		{"empty", func(c *card) { c.put(bootconfig.File, "") }, "the file is empty"},
		{"no file", func(c *card) { require.NoError(c.t, os.Remove(filepath.Join(c.boot, bootconfig.File))) }, "never configured"},
		{"secrets that another card has", func(c *card) {
			other := newCard(c.t)
			other.put(bootconfig.File, c.get(bootconfig.File))
			other.start()
			c.put(bootconfig.File, other.get(bootconfig.File))
		}, "pki.key: is (kept on the node), but this node does not have it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCard(t)
			text, _ := generated(t)
			c.put(bootconfig.File, text)
			tc.edit(c)

			result := c.start()
			require.ErrorContains(t, result.Refused, tc.want)
			require.NoError(t, result.Incomplete)
			require.Contains(t, c.get(bootconfig.StatusFile), tc.want, "the card tells")
			require.Contains(t, c.get(bootconfig.StatusFile), "does nothing until that is mended")
			require.NoFileExists(t, c.kept)

			c.put(bootconfig.File, text)
			require.NoError(t, c.start().Refused, "mended")
			require.Contains(t, c.get(bootconfig.StatusFile), "is in force")
		})
	}
}

func TestAWrongEditLeavesTheLastConfiguration(t *testing.T) {
	c := newCard(t)
	text, cfg := generated(t)
	c.put(bootconfig.File, text)
	c.start()
	c.edit("copies: 1", "copies: 12")

	require.ErrorContains(t, c.start().Refused, "goes on with the configuration it had before")
	require.Equal(t, cfg, c.config())
	require.Contains(t, c.get(bootconfig.StatusFile), "goes on with the configuration it had before")

	c.writable = 0
	c.start()
	require.Zero(t, c.writable, "the card says so already")
}

func TestSecretsOfAnotherClusterAreNotFilledIn(t *testing.T) {
	c := newCard(t)
	text, cfg := generated(t)
	c.put(bootconfig.File, text)
	c.start()
	c.edit("id: "+cfg.Cluster.ID, "id: 5a3c6d3c-7f0e-4f5a-9b1e-0c8d5d6b7a11")

	require.ErrorContains(t, c.start().Refused, "this node does not have it")
	require.Equal(t, cfg, c.config())
}

func TestANoteIsOnTheCardAsLongAsItIsTrue(t *testing.T) {
	c := newCard(t)
	text, _ := generated(t)
	c.put(bootconfig.File, text)
	c.note = "node.k3s: there is none"
	require.NoError(t, c.start().Refused)
	require.Contains(t, c.get(bootconfig.StatusFile), "is in force")
	require.Contains(t, c.get(bootconfig.StatusFile), "Note: node.k3s: there is none\n")

	c.writable = 0
	c.start()
	require.Zero(t, c.writable, "the card says so already")

	c.note = ""
	require.NoError(t, c.start().Incomplete)
	require.NotContains(t, c.get(bootconfig.StatusFile), "Note")
}

// A setting that is new on the node, with what stands for a secret, is nothing
// that the node could fill in.
func TestASecretThatTheNodeNeverHadIsNotFilledIn(t *testing.T) {
	c := newCard(t)
	text, cfg := generated(t)
	c.put(bootconfig.File, strings.Replace(text, "a-token-of-k3s", `""`, 1))
	require.NoError(t, c.start().Refused)

	c.edit(`token: ""`, `token: "`+bootconfig.Kept+`"`)
	require.ErrorContains(t, c.start().Refused, "node.k3s.token: is (kept on the node), but this node does not have it")

	c.edit(`token: "`+bootconfig.Kept+`"`, "token: a-token-of-k3s")
	require.NoError(t, c.start().Refused)
	require.Equal(t, cfg, c.config())
	c.requireClean(cfg)
}

// A power cut may come between any two steps of taking the file over.
func TestAPowerCutOnTheWayIsMadeUpFor(t *testing.T) {
	text, cfg := generated(t)

	configured := func(t *testing.T) *card {
		c := newCard(t)
		c.put(bootconfig.File, text)
		c.start()

		return c
	}

	for _, tc := range []struct {
		name string
		cut  func(*card)
	}{
		{"kept, and nothing removed", func(c *card) { c.put(bootconfig.File, text) }},
		{"renamed", func(c *card) {
			require.NoError(c.t, os.Remove(filepath.Join(c.boot, bootconfig.File)))
			c.put("antler-taken.yaml", text)
		}},
		{"written without secrets", func(c *card) { c.put("antler-taken.yaml", text) }},
		{"overwritten and not removed", func(c *card) { c.put("antler-taken.yaml", string(make([]byte, len(text)))) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := configured(t)
			tc.cut(c)

			result := c.start()
			require.NoError(t, result.Refused)
			require.NoError(t, result.Incomplete)
			require.Equal(t, cfg, c.config())
			c.requireClean(cfg)
			require.NoFileExists(t, filepath.Join(c.boot, "antler-taken.yaml"))
			require.Contains(t, c.get(bootconfig.File), bootconfig.Kept)
			require.Equal(t, bootconfig.Result{}, c.start())
		})
	}
}

func TestAReadOnlyCardIsToldOf(t *testing.T) {
	c := newCard(t)
	text, cfg := generated(t)
	c.put(bootconfig.File, text)
	c.refused = errors.New("the lock switch is on")

	result := c.start()
	require.NoError(t, result.Refused, "the node works")
	require.ErrorContains(t, result.Incomplete, "secrets stay on the boot partition: the lock switch is on")
	require.Equal(t, cfg, c.config())
	require.Equal(t, text, c.get(bootconfig.File))
}

func TestANodeWithoutTheFileKeepsWhatItHas(t *testing.T) {
	c := newCard(t)
	text, cfg := generated(t)
	c.put(bootconfig.File, text)
	c.start()
	require.NoError(t, os.Remove(filepath.Join(c.boot, bootconfig.File)))

	require.Equal(t, bootconfig.Result{}, c.start())
	require.Equal(t, cfg, c.config())
}
