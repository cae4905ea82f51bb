package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// Namespace in which tests have their objects.
const Namespace = metav1.NamespaceDefault

// tokenTime is longer than any test takes.
const tokenTime = 4 * time.Hour

// Deploy creates what is in base, which is deploy/kubernetes/base, and returns a
// token of the account in it: it has the rights that are there, and no others.
func (c *ControlPlane) Deploy(ctx context.Context, base string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()

	err := Await(ctx, "the API server has made its namespaces", func() error {
		var errs []error

		for _, name := range []string{metav1.NamespaceSystem, Namespace} {
			_, err := c.Admin.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
			errs = append(errs, err)
		}

		return errors.Join(errs...)
	})
	if err != nil {
		return "", err
	}

	for _, name := range []string{"csidriver.yaml", "storageclasses.yaml", "rbac.yaml"} {
		if err := c.deployFile(ctx, filepath.Join(base, name)); err != nil {
			return "", fmt.Errorf("deploy %s: %w", name, err)
		}
	}

	seconds := int64(tokenTime / time.Second)

	token, err := c.Admin.CoreV1().ServiceAccounts(metav1.NamespaceSystem).CreateToken(ctx, "antler-csi",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}

	return token.Status.Token, nil
}

func (c *ControlPlane) deployFile(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}

	documents := utilyaml.NewDocumentDecoder(file)
	defer documents.Close()

	content := make([]byte, 64<<10)

	for {
		n, err := documents.Read(content)
		if errors.Is(err, io.EOF) {
			return nil
		}

		if err != nil {
			return err
		}

		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(content[:n], nil, nil)
		if err != nil {
			return err
		}

		if err := c.create(ctx, object); err != nil {
			return err
		}
	}
}

func (c *ControlPlane) create(ctx context.Context, object runtime.Object) (err error) {
	var (
		core, storage, rbac = c.Admin.CoreV1(), c.Admin.StorageV1(), c.Admin.RbacV1()
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
		err = fmt.Errorf("no client for %T", object)
	}

	return err
}
