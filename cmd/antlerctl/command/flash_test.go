package command

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgressPrintsOnceASecondAndAtTheEnd(t *testing.T) {
	var out bytes.Buffer

	clock := time.Unix(1000, 0)
	p := &progress{out: &out, now: func() time.Time { return clock }}

	for done := int64(0); done <= 100<<20; done += 10 << 20 {
		p.report("writing", done, 100<<20)

		clock = clock.Add(400 * time.Millisecond)
	}

	p.report("verifying", 100<<20, 100<<20)

	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\r"))
	require.Len(t, lines, 6, out.String())
	require.Contains(t, string(lines[0]), "writing     0 %")
	require.Contains(t, string(lines[1]), "writing    30 %  30 MiB of 100 MiB  25 MiB/s")
	require.Contains(t, string(lines[4]), "writing   100 %  100 MiB of 100 MiB  25 MiB/s")
	require.Contains(t, string(lines[5]), "verifying 100 %")
}

func TestFlashWritesNothingWithoutAnImage(t *testing.T) {
	code, _, text := run(t, t.Context(), "", "flash", "/nowhere/antler.img", t.TempDir()+"/card")
	require.Equal(t, exitFailed, code)
	require.Contains(t, text, "open the image")

	code, _, text = run(t, t.Context(), "", "flash", "antler.img")
	require.Equal(t, exitUsage, code)
	require.Contains(t, text, "antlerctl flash --help")
}

func TestWhatACommandDidIsDataToo(t *testing.T) {
	for output, want := range map[string]string{
		formatTable: "card: written\n",
		formatJSON:  "{\n  \"target\": \"card\",\n  \"bytes\": 7,\n  \"node\": \"n1\"\n}\n",
		formatYAML:  "---\nbytes: 7\nnode: n1\ntarget: card\n",
	} {
		var out bytes.Buffer

		a := &app{Environment: Environment{Out: &out}, output: output}
		require.NoError(t, a.showResult(flashed{"card", 7, "n1"}, "card: written"))
		require.Equal(t, want, out.String())
	}
}
