//go:build controlplane

// Package provisioner holds what antlerd's provisioner promises against a real
// Kubernetes control plane: etcd, kube-apiserver and kube-controller-manager on
// loopback addresses. The volumes are on a directory that stands for MooseFS;
// there is no kubelet.
package provisioner

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"antler/qemu-tests/lab"
)

const (
	root      = "../../../build/"
	base      = "../../../deploy/kubernetes/base"
	namespace = "default"
	// timeout ends a test that waits for what never comes; it judges no time.
	timeout = 5 * time.Minute
)

// suite is what all cases share.
type suite struct {
	*controlPlane

	// volumes is the directory that stands for MooseFS, kubeconfig what the
	// provisioner has: the rights in deploy/kubernetes, and no others.
	volumes, kubeconfig string
	n1                  *node
}

// trial is one case.
type trial struct {
	*testing.T
	*suite

	ctx    context.Context
	result lab.Case
}

func TestProvisioner(t *testing.T) {
	report := &lab.Report{Name: "provisioner"}

	t.Cleanup(func() { require.NoError(t, report.Write(root+"reports", os.Stdout)) })

	s := &suite{controlPlane: startControlPlane(t), volumes: t.TempDir()}
	s.deploy(t)
	s.n1 = serve(t, s.volumes, s.kubeconfig, "n1", 1)

	for _, c := range []struct {
		name, promise string
		run           func(*trial)
	}{
		{"Bound", "a claim becomes a volume and is bound, one at a time", (*trial).boundOneByOne},
		{"Delete", "a deleted claim's volume goes to the archive, and its persistent volume goes", (*trial).deleted},
		{"Retain", "a retained volume stays until somebody says that it may go", (*trial).retained},
		{"WrongParameters", "what is wrong with a class stands in an event on the claim, which can be deleted", (*trial).wrongParameters},
		{"Expand", "a claim that asks for more gets it, without a pod or a node", (*trial).expanded},
		{"FirstConsumer", "with WaitForFirstConsumer the volume waits for a node of this cluster", (*trial).firstConsumer},
		{"Clone", "a claim with another one as its source begins as a copy of it", (*trial).cloned},
		{"Restore", "a claim with a VolumeSnapshot as its source begins as what was snapshotted", (*trial).restored},
		{"Kubeconfig", "a kubeconfig that is missing or wrong is said and is used as soon as it is right", (*trial).lateKubeconfig},
		{"APIServer", "while the API server is away that is said, and after it claims are served again", (*trial).apiServerRestarted},
		{"Storm", "500 claims and a failover in the middle of them: each is bound, and none got two volumes", (*trial).storm},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()

			k := &trial{T: t, ctx: ctx, suite: s, result: lab.Case{Name: c.name, Promise: c.promise, Figures: map[string]any{}}}

			// In the end, since a failed test doesn't come back from run.
			t.Cleanup(func() {
				k.result.Passed = !t.Failed()
				report.Add(k.result)
			})

			c.run(k)
		})
	}
}

// deploy creates what is in deploy/kubernetes, and a kubeconfig of the account
// in it.
func (s *suite) deploy(t *testing.T) {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), startTime)
	defer cancel()

	await(ctx, t, "the API server has made its namespaces", func() error {
		_, err := s.admin.CoreV1().Namespaces().Get(ctx, "kube-system", metav1.GetOptions{})
		if err == nil {
			_, err = s.admin.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		}

		return err
	})

	for _, o := range objects(t) {
		require.NoError(t, s.create(ctx, o))
	}

	lifetime := int64(3600)
	token, err := s.admin.CoreV1().ServiceAccounts("kube-system").CreateToken(ctx, "antler-csi",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &lifetime}}, metav1.CreateOptions{})
	require.NoError(t, err)

	s.kubeconfig = s.controlPlane.kubeconfig(t, "antler-csi", token.Status.Token)
}

// objects are those in deploy/kubernetes.
func objects(t *testing.T) (out []runtime.Object) {
	t.Helper()

	for _, name := range []string{"csidriver.yaml", "storageclasses.yaml", "rbac.yaml"} {
		file, err := os.Open(filepath.Join(base, name))
		require.NoError(t, err)

		defer file.Close()

		reader := utilyaml.NewDocumentDecoder(file)
		content := make([]byte, 64<<10)

		for {
			n, err := reader.Read(content)
			if err != nil {
				break
			}

			object, _, err := scheme.Codecs.UniversalDeserializer().Decode(content[:n], nil, nil)
			require.NoError(t, err, name)

			out = append(out, object)
		}
	}

	require.NotEmpty(t, out)

	return out
}

func (s *suite) create(ctx context.Context, object runtime.Object) (err error) {
	var (
		core, storage, rbac = s.admin.CoreV1(), s.admin.StorageV1(), s.admin.RbacV1()
		none                metav1.CreateOptions
	)

	switch o := object.(type) {
	case *storagev1.CSIDriver:
		_, err = storage.CSIDrivers().Create(ctx, o, none)
	case *storagev1.StorageClass:
		_, err = storage.StorageClasses().Create(ctx, o, none)
	case *corev1.ServiceAccount:
		_, err = core.ServiceAccounts(o.Namespace).Create(ctx, o, none)
	case *rbacv1.ClusterRole:
		_, err = rbac.ClusterRoles().Create(ctx, o, none)
	case *rbacv1.ClusterRoleBinding:
		_, err = rbac.ClusterRoleBindings().Create(ctx, o, none)
	default:
		err = runtime.NewNotRegisteredErrForType("deploy/kubernetes", nil)
	}

	return err
}
