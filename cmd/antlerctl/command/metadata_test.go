package command

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	antlerv1 "antler/api/antler/v1"
)

// fakeSources is a node without a replica that could serve.
type fakeSources struct {
	antlerv1.UnimplementedMetadataServiceServer
}

func sourceOfN3() *antlerv1.MetadataSource {
	return &antlerv1.MetadataSource{Name: "n3/metalogger", Version: 90, LostChanges: 10, Time: timestamppb.New(time.Unix(1_700_000_000, 0))}
}

func (fakeSources) ListSources(context.Context, *antlerv1.ListSourcesRequest) (*antlerv1.ListSourcesResponse, error) {
	return &antlerv1.ListSourcesResponse{ServedVersion: 100, Silent: []string{"n1"}, Sources: []*antlerv1.MetadataSource{
		sourceOfN3(), {Name: "n1/replica", Current: true, Note: "it has all"}, {Name: "n2/replica", Problem: "it is blank"},
	}}, nil
}

func (fakeSources) Fetch(request *antlerv1.FetchRequest, stream antlerv1.MetadataService_FetchServer) error {
	if request.Source == "n9/metalogger" {
		return status.Error(codes.NotFound, "there is no n9")
	}

	content := binary.BigEndian.AppendUint64([]byte("MFSM 2.0"), 90)
	content = append(binary.BigEndian.AppendUint64(content, 7), "content[MFS EOF MARKER]"...)

	if request.Source == "n2/metalogger" {
		content = content[:30]
	}

	for _, piece := range [][]byte{content[:20], content[20:]} {
		err := stream.Send(&antlerv1.FetchResponse{File: "metadata.mfs.back", Data: piece})
		if err != nil {
			return err
		}
	}

	return stream.Send(&antlerv1.FetchResponse{File: "changelog.1.mfs", Data: []byte("90: x\n91: y\n")})
}

func (fakeSources) Restore(request *antlerv1.RestoreRequest, stream antlerv1.MetadataService_RestoreServer) error {
	if request.LoseAfter == 0 {
		return stream.Send(&antlerv1.RestoreResponse{Plan: &antlerv1.RestorePlan{
			Source: sourceOfN3(), Target: "n2", ServedVersion: 100, GivenUp: []string{"the changes 90 to 99"}, Better: []string{"n1 does not answer"},
		}})
	}

	return stream.Send(&antlerv1.RestoreResponse{Progress: &antlerv1.Progress{Done: true, Node: "n2", Epoch: 9}})
}

func TestMetadataSources(t *testing.T) {
	path := cluster(t)

	code, out, errs := run(t, t.Context(), "", "-c", path, "metadata", "sources")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, `SOURCE         VERSION  LAST CHANGE           LACKS  NOTE
n3/metalogger  90       2023-11-14T22:13:20Z  10     -
n1/replica     -        -                     0      it has all
n2/replica     -        -                     -      PROBLEM: it is blank

n1 does not answer: it may hold more

served up to version 100, as the quorum has recorded
`, out)

	code, out, errs = run(t, t.Context(), "", "-c", path, "metadata", "sources", "-o", "json")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, `"lost_changes": "10"`)
}

func TestMetadataBackup(t *testing.T) {
	path, dir := cluster(t), filepath.Join(t.TempDir(), "kept")

	code, out, errs := run(t, t.Context(), "", "-c", path, "metadata", "backup", dir)
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, dir+" holds metadata 0000000000000007 up to version 92\n", out)
	require.FileExists(t, filepath.Join(dir, "metadata.mfs.back"))
	require.FileExists(t, filepath.Join(dir, "changelog.1.mfs"))

	// What is there is never written over.
	code, _, errs = run(t, t.Context(), "", "-c", path, "metadata", "backup", dir)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "it is there already")

	// Nor is a directory made for it that should have been there.
	below := filepath.Join(t.TempDir(), "unmounted", "kept")
	code, _, errs = run(t, t.Context(), "", "-c", path, "metadata", "backup", below)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "there is no directory "+filepath.Dir(below))
	require.NoDirExists(t, filepath.Dir(below))

	// And nothing is left of what is not whole.
	for _, source := range []string{"n2/metalogger", "n9/metalogger"} {
		other := filepath.Join(t.TempDir(), "kept")
		code, _, errs = run(t, t.Context(), "", "-c", path, "metadata", "backup", other, "--source", source)
		require.Equal(t, exitFailed, code, errs)

		_, err := os.Lstat(other)
		require.ErrorIs(t, err, os.ErrNotExist)
	}
}

func TestMetadataRestoreShowsThePlanFirst(t *testing.T) {
	path := cluster(t)

	code, out, errs := run(t, t.Context(), "", "-c", path, "metadata", "restore", "n3/metalogger")
	require.Equal(t, exitOK, code, errs)
	require.Equal(t, `n3/metalogger reaches version 90; version 100 was served. n2 would serve from it.

Given up for good:
  - the changes 90 to 99

Look at these first:
  - n1 does not answer

Nothing was changed. To go on:
  antlerctl metadata restore n3/metalogger --target n2 --lose-after 90 --reason "..."
`, out)

	code, out, errs = run(t, t.Context(), "", "-c", path, "metadata", "restore", "n3/metalogger", "--lose-after", "90", "--reason", "fire")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "n2 serves in epoch 9")
}

func TestPlanOfARestoreOntoANewCluster(t *testing.T) {
	var out strings.Builder

	require.NoError(t, showPlan(&out, &antlerv1.RestorePlan{Source: sourceOfN3(), Target: "n1"}))
	require.Contains(t, out.String(), "n3/metalogger reaches version 90; this cluster has served nothing yet. n1 would serve from it.\n")
}

// Nothing was decided, so nothing can go on.
func TestALookAtARestoreDoesNotGoOn(t *testing.T) {
	late := status.Error(codes.DeadlineExceeded, "context deadline exceeded")
	require.Equal(t, late, restoreEnded(late, &antlerv1.RestoreRequest{}, false))
	require.ErrorContains(t, restoreEnded(late, &antlerv1.RestoreRequest{LoseAfter: 90}, false), "no word of the restore came in time: it may not have begun")
	require.ErrorContains(t, restoreEnded(late, &antlerv1.RestoreRequest{LoseAfter: 90}, true), "goes on without antlerctl")
}
