// Package deploy checks what is given to Kubernetes.
package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"

	"antler/services/kubernetes"
)

// object as it is in a file.
type object = map[string]any

func kindAndName(o object) string {
	metadata, _ := o["metadata"].(object)
	kind, _ := o["kind"].(string)
	name, _ := metadata["name"].(string)

	return kind + "/" + name
}

func parse(t *testing.T, content []byte) (out []object) {
	t.Helper()

	for decoder := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var o object

		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return out
		}

		require.NoError(t, err, string(content))

		if o != nil {
			out = append(out, o)
		}
	}
}

// kustomized reads what a kustomization lists.
func kustomized(t *testing.T, dir string) map[string]object {
	t.Helper()

	read := func(path string) []object {
		content, err := os.ReadFile(path)
		require.NoError(t, err)

		return parse(t, content)
	}
	out := map[string]object{}

	resources, _ := read(filepath.Join(dir, "kustomization.yaml"))[0]["resources"].([]any)
	require.NotEmpty(t, resources)

	for _, resource := range resources {
		path := filepath.Join(dir, resource.(string))

		if info, err := os.Stat(path); err == nil && info.IsDir() {
			for name, o := range kustomized(t, path) {
				out[name] = o
			}

			continue
		}

		for _, o := range read(path) {
			out[kindAndName(o)] = o
		}
	}

	return out
}

// charted renders the chart. Its templates use nothing but what Go's own have,
// so that Helm isn't needed to test it.
func charted(t *testing.T, change func(values object)) map[string]object {
	t.Helper()

	content, err := os.ReadFile("chart/values.yaml")
	require.NoError(t, err)

	values := parse(t, content)[0]
	change(values)

	files, err := filepath.Glob("chart/templates/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)

	out := map[string]object{}

	for _, file := range files {
		var rendered bytes.Buffer

		parsed, err := template.New(filepath.Base(file)).Option("missingkey=error").ParseFiles(file)
		require.NoError(t, err)
		require.NoError(t, parsed.Execute(&rendered, object{"Values": values}))

		for _, o := range parse(t, rendered.Bytes()) {
			out[kindAndName(o)] = o
		}
	}

	return out
}

func TestChartAndKustomizationAreTheSame(t *testing.T) {
	require.Equal(t, kustomized(t, "base"), charted(t, func(object) {}))
	require.Equal(t, kustomized(t, "snapshots"), charted(t, func(values object) {
		values["snapshotClass"] = object{"enabled": true}
	}))
}

// strict decodes an object into the type that the API server has, and refuses
// what that doesn't know.
func strict(t *testing.T, o object, into any) {
	t.Helper()

	content, err := json.Marshal(o)
	require.NoError(t, err)

	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(into))
}

// Nothing is started in the cluster: there are no pods of ours.
func TestObjectsAreWhatTheAPIServerKnows(t *testing.T) {
	for name, o := range kustomized(t, "snapshots") {
		switch o["kind"] {
		case "CSIDriver":
			var driver storagev1.CSIDriver

			strict(t, o, &driver)
			require.Equal(t, kubernetes.DriverName, driver.Name)
			require.False(t, *driver.Spec.AttachRequired)
		case "StorageClass":
			var class storagev1.StorageClass

			strict(t, o, &class)
			require.Equal(t, kubernetes.DriverName, class.Provisioner)

			_, err := kubernetes.ParseParameters("parameters", class.Parameters)
			require.NoError(t, err)
		case "ClusterRole":
			strict(t, o, &rbacv1.ClusterRole{})
		case "ClusterRoleBinding":
			strict(t, o, &rbacv1.ClusterRoleBinding{})
		case "ServiceAccount":
			strict(t, o, &corev1.ServiceAccount{})
		case "VolumeSnapshotClass":
			require.Equal(t, kubernetes.DriverName, o["driver"])
		default:
			t.Errorf("%s is of a kind that has no business here", name)
		}
	}
}

func TestDefaultClass(t *testing.T) {
	class := charted(t, func(values object) {
		values["storageClasses"] = []any{object{
			"name": "fast", "reclaimPolicy": "Retain", "default": true, "parameters": object{"copies": "3", "nameTemplate": "${pv.name}"},
		}}
	})["StorageClass/fast"]

	var typed storagev1.StorageClass

	strict(t, class, &typed)
	require.Equal(t, "true", typed.Annotations["storageclass.kubernetes.io/is-default-class"])
	require.Equal(t, map[string]string{"copies": "3", "nameTemplate": "${pv.name}"}, typed.Parameters)
}

// Options may be left out, and are strings whatever YAML would read in them: the driver
// says which there are.
func TestMountOptionsOfAClass(t *testing.T) {
	class := func(change func(object)) (typed storagev1.StorageClass) {
		values := object{"name": "own", "reclaimPolicy": "Delete", "default": false, "parameters": object{"mountMode": "volume"}}
		change(values)

		strict(t, charted(t, func(all object) { all["storageClasses"] = []any{values} })["StorageClass/own"], &typed)

		return typed
	}

	for _, none := range []func(object){func(object) {}, func(v object) { v["mountOptions"] = []any{} }} {
		require.Nil(t, class(none).MountOptions)
	}

	options := []string{"noatime", "mfswritecachesize=16", "mfscachemode=NO", "true"}
	require.Equal(t, options, class(func(v object) { v["mountOptions"] = options }).MountOptions)
}
