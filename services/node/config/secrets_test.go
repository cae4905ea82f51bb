package config_test

import (
	"reflect"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"antler/services/node/config"
)

// A secret that is not in the list stays readable on the boot partition: so
// whatever is called like one must be there.
func TestSecretsNamesEverySecret(t *testing.T) {
	listed := map[string]bool{}
	for _, secret := range (&config.Config{}).Secrets() {
		listed[secret.Path] = true
	}

	secretive := regexp.MustCompile(`(?i)password|secret|token|key$`)

	var walk func(kind reflect.Type, path string)

	walk = func(kind reflect.Type, path string) {
		for i := range kind.NumField() {
			field := kind.Field(i)
			name := path + regexp.MustCompile(`^\w*`).FindString(field.Tag.Get("yaml"))

			if field.Type.Kind() == reflect.Struct && field.Type.PkgPath() == kind.PkgPath() {
				walk(field.Type, name+".")
			}

			if field.Type.Kind() == reflect.String {
				require.Equal(t, secretive.MatchString(name), listed[name], name)
			}
		}
	}

	walk(reflect.TypeFor[config.Config](), "")
}

func TestSecretsPointIntoTheConfiguration(t *testing.T) {
	cfg := &config.Config{}
	for _, secret := range cfg.Secrets() {
		*secret.Value = secret.Path
	}

	require.Equal(t, "cluster.adminPassword", cfg.Cluster.AdminPassword)
	require.Equal(t, "pki.key", cfg.PKI.Key)
}
