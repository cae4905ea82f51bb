package authority

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a node says of itself reaches the others, all of it.
func TestReportsCrossTheWireWhole(t *testing.T) {
	var report Report

	fill(t, reflect.ValueOf(&report).Elem())
	require.Equal(t, report, reportFromWire(reportToWire(report)))
}

// fill gives every field a value that is not its zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()

	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(7.5)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Map:
		element := reflect.New(v.Type().Elem()).Elem()
		fill(t, element)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), element)
	default:
		require.Failf(t, "a field of a kind that is not filled", "%s", v.Type())
	}
}
