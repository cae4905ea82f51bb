package gen_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"antler/services/node/config"
	"antler/services/node/config/gen"
)

const small = `
name: home
floating: [10.5.0.250/24, fd00:5::250/64]
nodes:
- {name: n1, address: 10.5.0.1, replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}
- {name: n2, address: 10.5.0.2, replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}
- {name: n3, address: 10.5.0.3, chunks: [{device: /dev/vdc}]}
`

func now() time.Time { return time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC) }

func generate(t *testing.T, dir, text string) (*gen.Files, error) {
	t.Helper()

	file, err := gen.ParseClusterFile([]byte(text))
	require.NoError(t, err)

	secrets, err := gen.SecretsFor(dir, file.Name, false, now())
	require.NoError(t, err)

	return gen.Generate(file, secrets, now())
}

func write(t *testing.T, dir, text string) *gen.Files {
	t.Helper()

	files, err := generate(t, dir, text)
	require.NoError(t, err)

	_, err = files.Write(dir)
	require.NoError(t, err)

	return files
}

func fmtNetworks(cfg *config.Config) string { return fmt.Sprint(cfg.Cluster.Networks) }

func leaf(pair tls.Certificate) *x509.Certificate { return pair.Leaf }

func TestWrittenFilesLoadAndValidate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "home")
	write(t, dir, small)

	for _, name := range []string{"n1", "n2", "n3"} {
		cfg, err := config.LoadFile(filepath.Join(dir, name+".yaml"), now())
		require.NoError(t, err)
		require.Equal(t, name, cfg.Node.Name)
		require.Equal(t, 2, cfg.Cluster.Storage.Copies)
		require.Len(t, cfg.Cluster.Voters(), 3)
		require.Equal(t, []config.Role{config.RoleWitness, config.RoleMetalogger, config.RoleChunkserver, config.RoleClient}, cfg.Cluster.Nodes[2].Roles)
		require.Equal(t, "[10.5.0.0/24 fd00:5::/64]", fmtNetworks(cfg))
	}

	for _, name := range []string{"ca", "n1", "n2", "n3", "admin", "reader"} {
		info, err := os.Stat(filepath.Join(dir, name+".yaml"))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), name)
	}

	admin, err := config.LoadClient(filepath.Join(dir, "admin.yaml"))
	require.NoError(t, err)
	require.Equal(t, []config.Endpoint{
		{Node: "n1", Address: "10.5.0.1:9440"},
		{Node: "n2", Address: "10.5.0.2:9440"},
		{Node: "n3", Address: "10.5.0.3:9440"},
	}, admin.Endpoints)

	leftovers, err := filepath.Glob(filepath.Join(dir, ".*"))
	require.NoError(t, err)
	require.Empty(t, leftovers)
}

func TestNodesFilesSayWhatTheyAre(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, small)

	text, err := os.ReadFile(filepath.Join(dir, "n2.yaml"))
	require.NoError(t, err)

	for _, want := range []string{"# n2 of cluster home.", "--node-config n2.yaml\n", "# On other systems: " + config.DefaultPath, "# This node's own"} {
		require.Contains(t, string(text), want)
	}
}

func TestAgainKeepsSecretsAndRenewsCertificates(t *testing.T) {
	dir := t.TempDir()
	first := write(t, dir, small)

	second := write(t, dir, small)
	require.Equal(t, first.Secrets.CAKey, second.Secrets.CAKey)
	require.Equal(t, first.Secrets.ID, second.Secrets.ID)
	require.Equal(t, first.Nodes[0].Cluster.Password, second.Nodes[0].Cluster.Password)
	require.NotEqual(t, first.Nodes[0].PKI.Cert, second.Nodes[0].PKI.Cert)

	// Old and new certificates trust each other: nodes are restarted one by one.
	mixed := *second.Nodes[0]
	mixed.PKI.Cert, mixed.PKI.Key = first.Nodes[0].PKI.Cert, first.Nodes[0].PKI.Key
	require.NoError(t, mixed.Validate(now()))
}

func TestForceStartsAnew(t *testing.T) {
	dir := t.TempDir()
	first := write(t, dir, small)

	secrets, err := gen.SecretsFor(dir, "home", true, now())
	require.NoError(t, err)
	require.NotEqual(t, first.Secrets.CAKey, secrets.CAKey)
	require.NotEqual(t, first.Secrets.ID, secrets.ID)
}

func TestRefusesAnotherClustersDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, small)

	_, err := gen.SecretsFor(dir, "work", false, now())
	require.EqualError(t, err, filepath.Join(dir, "ca.yaml")+` belongs to the cluster "home", and the cluster file describes "work": choose another directory with -o`)
}

func TestRefusesDamagedSecrets(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ca.yaml"), []byte("cluster: home\nid"), 0o600))

	_, err := gen.SecretsFor(dir, "home", false, now())
	require.ErrorContains(t, err, "restore it from a copy, or start a new cluster with --force")
}

func TestProblemsAreInTheWordsOfTheClusterFile(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{
			"even number of voters",
			"name: home\nfloating: [10.5.0.250/24]\nstorage: {copies: 1}\nnodes:\n" +
				"- {name: n1, address: 10.5.0.1, replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}\n" +
				"- {name: n2, address: 10.5.0.2, replica: {device: /dev/vdb}}\n",
			"refused: nodes: 2 voters (n1, n2) are an even number: when they split in half neither half may go on: " +
				"add the role witness to one more node, or take it from one (metadata nodes and witnesses vote)",
		},
		{
			"duplicate name and address, no device",
			"name: home\nfloating: [10.5.0.250/24]\nnodes:\n" +
				"- {name: n1, address: 10.5.0.1, roles: [metadata, chunkserver], replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}\n" +
				"- {name: n2, address: 10.5.0.2, roles: [metadata, chunkserver], chunks: [{device: /dev/vdc, path: /srv}]}\n" +
				"- {name: n3, address: 10.5.0.2, roles: [witness]}\n",
			"refused for 3 reasons:\n" +
				"  nodes[2].address: 10.5.0.2 is the address of nodes[1] already: give each node its own\n" +
				"  nodes[1].replica.device: n2 has the role metadata and no device for its replica: name a disk or partition of at least 128 MiB that nothing else uses\n" +
				"  nodes[1].chunks[0]: needs exactly one of device and path: write one",
		},
		{
			"a name of another file",
			"name: home\nnodes:\n- {name: admin, address: 10.5.0.1, replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}\n",
			"refused: nodes[0].name: admin.yaml is the name of another file here: choose another name",
		},
		{
			"an agent of nobody",
			"name: home\nnodes:\n- {name: n1, address: 10.5.0.1, replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}], k3s: {role: agent}}\n",
			"refused: nodes[0].k3s.server: is missing: an agent joins a server: write for example https://192.168.1.11:6443",
		},
		{"nothing", "name: home\n", "refused: nodes: there are none: name at least one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := generate(t, t.TempDir(), tc.text)
			require.EqualError(t, err, tc.want)
		})
	}
}

func TestUnknownKeyIsRefused(t *testing.T) {
	_, err := gen.ParseClusterFile([]byte("name: home\nfloatign: [10.5.0.250/24]\n"))
	require.EqualError(t, err, `line 2: unknown key "floatign"`)
}

func TestOneNodeIsACluster(t *testing.T) {
	files := write(t, t.TempDir(), "name: try\nnodes:\n- {name: n1, address: 10.5.0.1, replica: {device: /dev/vdb}, chunks: [{device: /dev/vdc}]}\n")
	require.Equal(t, 1, files.Nodes[0].Cluster.Storage.Copies)
	require.Equal(t, "[10.5.0.1/32]", fmtNetworks(files.Nodes[0]))
}

func TestExpiredCAIsRefused(t *testing.T) {
	file, err := gen.ParseClusterFile([]byte(small))
	require.NoError(t, err)

	secrets, err := gen.NewSecrets("home", now())
	require.NoError(t, err)

	_, err = gen.Generate(file, secrets, now().AddDate(11, 0, 0))
	require.EqualError(t, err, "the cluster's CA expired on 2036-02-27: make a new one with --force, and give every node its new file")
}

func TestRolesOfPeople(t *testing.T) {
	files := write(t, t.TempDir(), small)

	for organization, client := range map[string]*config.Client{
		config.OrganizationAdmin:  files.Admin,
		config.OrganizationReader: files.Reader,
	} {
		pair, _, err := client.TLSCertificate()
		require.NoError(t, err)
		require.Equal(t, []string{organization}, leaf(pair).Subject.Organization)
		require.Equal(t, now().AddDate(1, 0, 0), leaf(pair).NotAfter)
		require.Empty(t, leaf(pair).DNSNames)
	}
}

func TestPeopleCannotServe(t *testing.T) {
	files := write(t, t.TempDir(), small)

	pair, pool, err := files.Admin.TLSCertificate()
	require.NoError(t, err)

	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	require.NoError(t, err)
	defer listener.Close()

	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_ = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()

	_, err = tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "admin", Time: now})
	require.Error(t, err)
}
