//go:build vm

package kubernetes

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"antler/qemu-tests/lab"
	"antler/qemu-tests/lab/controlplane"
	"antler/services/kubernetes"
)

const (
	// neverRun are tests of the suite that ask for what is not here: kubelet's node by
	// ssh, other file systems of the volume, which is MooseFS, and Windows.
	neverRun = `\[Disruptive\]|\[Feature:Windows\]|ntfs|xfs|ext3|ext4|block volmode`
	// externalTime ends the suite, and fails it.
	externalTime = "4h"
)

// TestExternalStorage runs Kubernetes's own tests of a storage driver (test/e2e/storage/external),
// all of those that FOCUS, a regular expression, finds.
func TestExternalStorage(t *testing.T) {
	e2e := os.Getenv("ANTLER_E2E")
	require.NotEmpty(t, e2e, "ANTLER_E2E: is not set: run `make test-kubernetes-external`")

	report := &lab.Report{Name: "kubernetes-external"}
	k := &trial{T: t, ctx: t.Context(), result: lab.Case{Name: "Boot", Promise: "a cluster takes pods of Kubernetes's own storage tests"}}

	t.Cleanup(func() {
		k.result.Passed = len(report.Cases) > 0
		report.Add(k.result)
		require.NoError(t, report.Write(root+"reports", os.Stdout))
	})

	s := boot(t.Context(), t)
	k.suite = s

	k.begin()
	k.kubelets()
	k.must(s.plane.DefineSnapshots(k.ctx, os.Getenv("ANTLER_CRDS")))
	k.must(s.plane.SnapshotClass(k.ctx, "moosefs", kubernetes.DriverName))

	_, err := s.plane.Admin.StorageV1().VolumeAttributesClasses().Create(k.ctx, &storagev1.VolumeAttributesClass{
		ObjectMeta: metav1.ObjectMeta{Name: "moosefs-attributes"}, DriverName: kubernetes.DriverName, Parameters: map[string]string{"trashTime": "1h"},
	}, metav1.CreateOptions{})
	k.must(err)

	x := external{trial: k, bin: e2e, dir: filepath.Join(s.plane.Dir, "e2e")}
	k.must(errors.Join(os.MkdirAll(x.dir, 0o755), os.MkdirAll(root+"reports", 0o755)))
	x.images()

	ended := x.run()
	cases, skipped, err := readJUnit(filepath.Join(x.dir, "junit_01.xml"))

	for _, c := range cases {
		report.Add(c)

		if !c.Passed {
			t.Errorf("%s: %s", c.Name, c.Failures)
		}
	}

	fmt.Printf("skipped, by reason:\n%s", skipped)
	require.NoError(t, errors.Join(ended, err), "%s says more", filepath.Join(x.dir, "e2e.log"))
	require.NotEmpty(t, cases, "FOCUS: finds no test that is run")
	require.NoError(t, os.WriteFile(root+"reports/kubernetes-external-skipped.txt", []byte(skipped), 0o644))
}

// external is the suite.
type external struct {
	*trial

	bin, dir string
}

// images gives the nodes those that the suite's pods are made of, by the names that it
// has for them.
func (x external) images() {
	x.Helper()

	list, err := x.command("--list-images").Output()
	x.must(err)

	entrypoints := map[string][]string{}

	for _, name := range strings.Fields(string(list)) {
		switch {
		// The other two are the suite's names for something that has a shell.
		case strings.HasPrefix(name, "localhost/busybox:"), strings.HasPrefix(name, "localhost/nginx:"), strings.HasPrefix(name, "localhost/jessie-dnsutils:"):
			entrypoints[name] = nil
		case strings.HasPrefix(name, "localhost/agnhost:"):
			entrypoints[name] = []string{"/agnhost"}
		}
	}

	archive := filepath.Join(x.dir, "images.tar")
	x.must(archiveImages(archive, filepath.Join(x.bin, "agnhost"), entrypoints))

	for _, node := range kubeletNodes {
		x.importImages(x.cluster.Machine(node), archive)
	}

	x.cluster.Say("the suite's images: %v", slices.Sorted(maps.Keys(entrypoints)))
}

// importImages carries an archive into a machine, which it fetches from this host.
func (x external) importImages(m *lab.Machine, archive string) {
	x.Helper()

	port, stop, err := controlplane.ServeFile(archive)
	x.must(err)
	defer stop()

	_, err = m.Console().Run(x.ctx, fmt.Sprintf("busybox wget -q -O /var/lib/kubernetes/images.tar http://%s:%d/ && "+
		"ctr -a /run/kubernetes/containerd.sock -n k8s.io images import /var/lib/kubernetes/images.tar && rm /var/lib/kubernetes/images.tar", controlplane.Gateway, port))
	x.must(err)
}

func (x external) command(arguments ...string) *exec.Cmd {
	images, err := filepath.Abs("testdata/external-images.yaml")
	x.must(err)

	cmd := exec.CommandContext(x.ctx, filepath.Join(x.bin, "e2e.test"), arguments...)
	cmd.Dir = x.dir
	cmd.Env = append(os.Environ(), "KUBE_TEST_REPO_LIST="+images)
	// It removes what it has made when it is interrupted.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	return cmd
}

// run the suite, and tell of each test.
func (x external) run() error {
	x.Helper()

	kubeconfig, err := x.plane.AdminKubeconfig()
	x.must(err)

	driver, err := filepath.Abs("testdata/external-driver.yaml")
	x.must(errors.Join(err, os.WriteFile(filepath.Join(x.dir, "kubeconfig"), kubeconfig, 0o600)))

	log, err := os.Create(filepath.Join(x.dir, "e2e.log"))
	x.must(err)
	defer log.Close()

	cmd := x.command("--kubeconfig=kubeconfig", "--kubectl-path="+filepath.Join(x.bin, "kubectl"), "--storage.testdriver="+driver,
		"--provider=skeleton", "--report-dir=.", "--ginkgo.v", "--ginkgo.no-color", "--ginkgo.timeout="+cmp.Or(os.Getenv("EXTERNAL_TIME"), externalTime),
		"--ginkgo.focus=External Storage.*("+os.Getenv("FOCUS")+")", "--ginkgo.skip="+neverRun)
	cmd.Stderr = log

	out, err := cmd.StdoutPipe()
	x.must(err)
	x.must(cmd.Start())
	x.tell(io.TeeReader(out, log))

	return cmd.Wait()
}

// tell says how each test has ended.
func (x external) tell(from io.Reader) {
	lines, name := bufio.NewScanner(from), ""
	lines.Buffer(nil, 1<<20)

	for lines.Scan() {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "External Storage "):
			name = line
		case strings.HasPrefix(line, "• "), strings.HasPrefix(line, "S [SKIPPED]"):
			x.cluster.Say("%s %s", strings.TrimPrefix(line, "• "), name)
		}
	}

	// What is not read would stop the suite.
	_, _ = io.Copy(io.Discard, from)
}

// readJUnit returns what was run, and for each reason how many tests were skipped.
func readJUnit(path string) (cases []lab.Case, skipped string, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}

	var result struct {
		Tests []struct {
			Name    string  `xml:"name,attr"`
			Status  string  `xml:"status,attr"`
			Seconds float64 `xml:"time,attr"`
			Skipped struct {
				Message string `xml:"message,attr"`
			} `xml:"skipped"`
			Failure string `xml:"failure"`
			Error   string `xml:"error"`
		} `xml:"testsuite>testcase"`
	}

	if err := xml.NewDecoder(bytes.NewReader(content)).Decode(&result); err != nil {
		return nil, "", err
	}

	reasons := map[string]int{}

	for _, test := range result.Tests {
		if !strings.Contains(test.Name, "External Storage") {
			continue
		}

		if test.Status == "skipped" {
			reasons[test.Skipped.Message]++

			continue
		}

		_, promise, _ := strings.Cut(test.Name, "[Testpattern: ")
		c := lab.Case{Name: test.Name, Promise: "[" + promise, Passed: test.Status == "passed", Figures: map[string]any{"s": math.Round(test.Seconds)}}
		if !c.Passed {
			c.Failures = []string{test.Status + ": " + firstLines(test.Failure+test.Error)}
		}

		cases = append(cases, c)
	}

	var b strings.Builder

	for _, reason := range slices.SortedFunc(maps.Keys(reasons), func(a, b string) int { return reasons[b] - reasons[a] }) {
		fmt.Fprintf(&b, "%4d %s\n", reasons[reason], reason)
	}

	return cases, b.String(), nil
}

// firstLines of what may be pages.
func firstLines(text string) string {
	lines := strings.SplitN(strings.TrimSpace(text), "\n", 6)

	return strings.Join(lines[:min(len(lines), 5)], "\n")
}
