package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	antlerv1 "antler/api/antler/v1"
	"antler/services/authority"
	"antler/services/metadata/files"
)

// fakeMetadata is the real places, and a master that saves nothing.
type fakeMetadata struct {
	files.Places

	saved int
	// aside is what the replica that is mounted nowhere holds.
	aside    files.Source
	asideErr error
}

func (f *fakeMetadata) SaveAside(context.Context) (files.Source, error) { return f.aside, f.asideErr }

func (f *fakeMetadata) Save(context.Context) error {
	f.saved++

	return nil
}

// metalogger puts a metadata file of the version into the node's directory.
func (n *testNode) metalogger(t *testing.T, version uint64) {
	t.Helper()

	n.place(t, n.metadata.Metalogger, "metadata_ml.mfs.back", version)
}

func (n *testNode) place(t *testing.T, dir, name string, version uint64) {
	t.Helper()

	n.placeOf(t, 7, dir, name, version)
}

// placeOf is place for the file system of the id.
func (n *testNode) placeOf(t *testing.T, id uint64, dir, name string, version uint64) {
	t.Helper()

	content := binary.BigEndian.AppendUint64([]byte("MFSM 2.0"), version)
	content = append(binary.BigEndian.AppendUint64(content, id), "content[MFS EOF MARKER]"...)

	require.NoError(t, os.MkdirAll(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
}

func TestSourcesOfAllNodes(t *testing.T) {
	c := newCluster(t)
	c.serve("", 5)
	c.node("n2").metalogger(t, 80)
	c.node("n3").metalogger(t, 90)

	spec := healthyAuthority("n1", "", 5)
	spec.MetaVersion, spec.MetadataID = 100, 7
	c.authorityIs("n1", spec)

	reply, err := antlerv1.NewMetadataServiceClient(c.dial("n1", c.files.Reader)).ListSources(t.Context(), &antlerv1.ListSourcesRequest{})
	require.NoError(t, err)
	require.EqualValues(t, 100, reply.ServedVersion)
	require.Empty(t, reply.Silent)

	var names []string
	for _, source := range reply.Sources {
		names = append(names, source.Name)
	}

	require.Equal(t, []string{"n3/metalogger", "n2/metalogger", "n1/replica", "n2/replica"}, names)
	require.EqualValues(t, 10, reply.Sources[0].LostChanges)
	require.EqualValues(t, 20, reply.Sources[1].LostChanges)
	require.Zero(t, reply.Sources[3].LostChanges, "a replica that the quorum counts on lacks nothing")
	require.True(t, reply.Sources[3].Current)
	require.Empty(t, reply.Sources[2].Problem)
	require.Contains(t, reply.Sources[2].Note, "let this node serve, before anything else")
}

func TestFetchWhatServes(t *testing.T) {
	c := newCluster(t)
	c.serve("n1", 5)
	c.node("n1").place(t, c.node("n1").metadata.Data, "metadata.mfs.back", 100)

	fetch := func(role func() antlerv1.MetadataServiceClient) (map[string][]byte, error) {
		stream, err := role().Fetch(t.Context(), &antlerv1.FetchRequest{})
		require.NoError(t, err)

		files := map[string][]byte{}

		for {
			reply, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return files, nil
			}

			if err != nil {
				return nil, err
			}

			files[reply.File] = append(files[reply.File], reply.Data...)
		}
	}

	// Any node takes the call.
	files, err := fetch(func() antlerv1.MetadataServiceClient {
		return antlerv1.NewMetadataServiceClient(c.dial("n3", c.files.Admin))
	})
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Contains(t, string(files["metadata.mfs.back"]), "EOF MARKER")
	require.Equal(t, 1, c.node("n1").metadata.saved)

	_, err = fetch(func() antlerv1.MetadataServiceClient {
		return antlerv1.NewMetadataServiceClient(c.dial("n3", c.files.Reader))
	})
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

func restoreCall(t *testing.T, c *testCluster, request *antlerv1.RestoreRequest) (last *antlerv1.RestoreResponse, err error) {
	t.Helper()

	stream, err := antlerv1.NewMetadataServiceClient(c.dial("n3", c.files.Admin)).Restore(t.Context(), request)
	require.NoError(t, err)

	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return last, nil
		}

		if err != nil {
			return nil, err
		}

		last = reply
	}
}

func TestRestoreShowsThePlanFirst(t *testing.T) {
	c := newCluster(t)
	c.serve("", 5)
	c.node("n2").metalogger(t, 80)
	c.node("n3").metalogger(t, 90)

	for _, name := range []string{"n1", "n2", "n3"} {
		spec := healthyAuthority(name, "", 5)
		spec.MetaVersion, spec.MetadataID, spec.UpToDate = 100, 7, nil
		c.authorityIs(name, spec)
	}

	plan, err := restoreCall(t, c, &antlerv1.RestoreRequest{Source: "n2/metalogger"})
	require.NoError(t, err)
	require.Equal(t, "n1", plan.Plan.Target)
	require.EqualValues(t, 80, plan.Plan.Source.Version)
	require.Contains(t, plan.Plan.GivenUp[0], "the changes 80 to 99 at least")
	require.Equal(t, []string{"n3/metalogger reaches version 90"}, plan.Plan.Better)
	require.Empty(t, c.node("n1").authority.asked)

	// The decision names what is lost, and why.
	_, err = restoreCall(t, c, &antlerv1.RestoreRequest{Source: "n2/metalogger", LoseAfter: 81, Reason: "both disks died"})
	require.Equal(t, "OTHER_VERSION", reasonOf(t, err))

	_, err = restoreCall(t, c, &antlerv1.RestoreRequest{Source: "n2/metalogger", LoseAfter: 80})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Empty(t, c.node("n1").authority.asked)

	done, err := restoreCall(t, c, &antlerv1.RestoreRequest{Source: "n2/metalogger", LoseAfter: 80, Reason: "both disks died"})
	require.NoError(t, err)
	require.True(t, done.Progress.Done)
	require.Equal(t, []string{"restore 80 of 7 on n1 by admin because both disks died"}, c.node("n1").authority.asked)
}

// A new cluster that awaits it takes any file system's metadata, and has nothing that
// would be better.
func TestRestoreOntoANewCluster(t *testing.T) {
	c := newCluster(t)
	c.serve("", 0)
	c.node("n3").placeOf(t, 9, c.node("n3").metadata.Metalogger, "metadata_ml.mfs.back", 90)

	for _, name := range []string{"n1", "n2", "n3"} {
		spec := healthyAuthority(name, "", 0)
		spec.Phase, spec.Formatted = authority.PhaseForming, false
		c.authorityIs(name, spec)
	}

	plan, err := restoreCall(t, c, &antlerv1.RestoreRequest{Source: "n3/metalogger"})
	require.NoError(t, err)
	require.Equal(t, "n1", plan.Plan.Target)
	require.Empty(t, plan.Plan.Better)
	require.Zero(t, plan.Plan.ServedVersion)

	reply, err := antlerv1.NewMetadataServiceClient(c.dial("n1", c.files.Reader)).ListSources(t.Context(), &antlerv1.ListSourcesRequest{})
	require.NoError(t, err)
	require.Equal(t, "there is no file system on it yet", reply.Sources[1].Note)
	require.False(t, reply.Sources[1].Current)

	_, err = restoreCall(t, c, &antlerv1.RestoreRequest{Source: "n3/metalogger", LoseAfter: 90, Reason: "the house burnt"})
	require.NoError(t, err)
	require.Equal(t, []string{"restore 90 of 9 on n1 by admin because the house burnt"}, c.node("n1").authority.asked)
}

func TestRestoreIsRefused(t *testing.T) {
	for _, tc := range []struct {
		name    string
		request *antlerv1.RestoreRequest
		prepare func(*testCluster)
		reason  string
	}{
		{"while somebody serves", &antlerv1.RestoreRequest{Source: "n3/metalogger"}, func(c *testCluster) { c.serve("n1", 5) }, "SERVING"},
		{"from another file system", &antlerv1.RestoreRequest{Source: "n3/metalogger"}, func(c *testCluster) {
			spec := healthyAuthority("n1", "", 5)
			spec.MetadataID = 8
			c.authorityIs("n1", spec)
		}, "FOREIGN_METADATA"},
		{"from what isn't there", &antlerv1.RestoreRequest{Source: "n2/metalogger"}, func(*testCluster) {}, "NO_SOURCE"},
		{"onto the witness", &antlerv1.RestoreRequest{Source: "n3/metalogger", Target: "n3"}, func(*testCluster) {}, "BAD_FIELD"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t)
			c.serve("", 5)
			c.node("n3").metalogger(t, 90)
			tc.prepare(c)

			_, err := restoreCall(t, c, tc.request)
			require.Error(t, err)
			require.Equal(t, tc.reason, reasonOf(t, err), err)
			require.Empty(t, c.node("n1").authority.asked)
		})
	}
}

// A replica that the guard has refused is mounted nowhere, and may be all that is left.
func TestRestoreFromAReplicaThatCouldNotServe(t *testing.T) {
	c := newCluster(t)
	c.serve("", 5)

	n2 := c.node("n2")
	n2.metadata.Backups = []string{t.TempDir()}
	n2.place(t, filepath.Join(n2.metadata.Backups[0], "replica-7-80"), "metadata.mfs.back", 80)
	n2.metadata.aside = files.Source{Name: "n2/backup-replica-7-80"}

	_, err := restoreCall(t, c, &antlerv1.RestoreRequest{Source: "n2/replica", Target: "n2"})
	require.Equal(t, "NO_SOURCE", reasonOf(t, err), "it may be tried yet")

	c.refused()

	reply, err := antlerv1.NewMetadataServiceClient(c.dial("n1", c.files.Reader)).ListSources(t.Context(), &antlerv1.ListSourcesRequest{})
	require.NoError(t, err)
	require.Equal(t, "n2/backup-replica-7-80", reply.Sources[0].Name)

	i := slices.IndexFunc(reply.Sources, func(s *antlerv1.MetadataSource) bool { return s.Name == "n2/replica" })
	require.Contains(t, reply.Sources[i].Problem, "could not serve from it: "+tooOldReason)
	require.False(t, reply.Sources[i].Current)

	plan, err := restoreCall(t, c, &antlerv1.RestoreRequest{Source: "n2/replica", Target: "n2"})
	require.NoError(t, err)
	require.Equal(t, "n2/replica", plan.Plan.Source.Name)
	require.EqualValues(t, 80, plan.Plan.Source.Version)
	require.Equal(t, reply.Sources[0].Time.AsTime(), plan.Plan.Source.Time.AsTime())
}

// A blank disk in the place of a replica is nothing to wait for.
func TestAReplacedReplicaIsNotTheOneThatCounts(t *testing.T) {
	known := healthySnapshot(t)
	known.change("n2", func(r *authority.NodeReportSpec) { r.Report.Replica.Disk = "Inconsistent" })

	reply := &antlerv1.ListSourcesResponse{}
	known.addClosedReplicas(reply)

	require.Len(t, reply.Sources, 2)
	require.Equal(t, "it has every acknowledged write; it can be read only where it serves", reply.Sources[0].Note)
	require.Empty(t, reply.Sources[0].Problem)
	require.Contains(t, reply.Sources[1].Problem, "its disk is a blank one")
	require.False(t, reply.Sources[1].Current)

	known.change("n2", func(r *authority.NodeReportSpec) { r.Alive = false })
	require.Contains(t, known.closedReplica("n2").Problem, "bring it back")

	known.authority.UpToDate = []string{"n1"}
	require.Contains(t, known.closedReplica("n2").Problem, "lacks acknowledged writes")
}
