package main

import (
	"encoding/json"
	"regexp"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSBOMIsWholeAndTheSameEachTime(t *testing.T) {
	set, err := parseLock(lockText)
	require.NoError(t, err)
	info := &debug.BuildInfo{GoVersion: "go1.26.0", Deps: []*debug.Module{
		{Path: "github.com/spf13/cobra", Version: "v1.10.2"},
		{Path: "example.org/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/new", Version: "v1.0.1+incompatible"}},
	}}
	text := func() []byte {
		doc := newSBOM("v1", set)
		doc.addProgram("antlerd", "v1", info)
		doc.addProgram("antlerctl", "v1", info)
		doc.addK3s(k3s{})
		doc.addK3s(k3s{from: "/tmp/k3s", version: testK3s, sha256: hexSum(nil)})
		out, err := doc.encode()
		require.NoError(t, err)
		return out
	}
	require.Equal(t, text(), text())

	var doc spdxDocument
	require.NoError(t, json.Unmarshal(text(), &doc))
	ids, purls := map[string]bool{doc.SPDXID: true}, map[string]bool{}
	for _, p := range doc.Packages {
		require.Regexp(t, regexp.MustCompile(`^SPDXRef-[a-zA-Z0-9.-]+$`), p.SPDXID)
		require.False(t, ids[p.SPDXID], "%s is there twice", p.SPDXID)
		ids[p.SPDXID] = true
		for _, ref := range p.ExternalRefs {
			purls[ref.Locator] = true
		}
	}
	for _, r := range doc.Relationships {
		require.True(t, ids[r.Element] && ids[r.Related], "%v names what is not there", r)
	}
	require.Len(t, doc.Packages, 1+len(set.packages)+2+1+3, "the image, Debian's, two programs, k3s, and three modules once")
	require.NotContains(t, string(text()), "/tmp/k3s", "the same k3s is the same document")
	for _, purl := range []string{"pkg:golang/github.com/spf13/cobra@v1.10.2", "pkg:golang/example.org/new@v1.0.1%2Bincompatible", "pkg:golang/stdlib@1.26.0"} {
		require.True(t, purls[purl], purl)
	}
	for _, p := range set.packages {
		require.True(t, ids[spdxID("deb", p.name)], p.name)
	}
	require.Regexp(t, `^urn:uuid:[0-9a-f-]{36}$`, doc.DocumentNamespace)
}

func TestNamesInAnSBOM(t *testing.T) {
	require.Equal(t, "libstdc%2B%2B6", purlEscape("libstdc++6"))
	require.Equal(t, "1%3A1.3~rc1", purlEscape("1:1.3~rc1"))
	require.NotEqual(t, spdxID("deb", "a+b"), spdxID("deb", "a_b"))
}
