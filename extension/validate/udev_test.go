package validate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// rules adds a file of rules.
func rules(name, content string) func([]Entry) []Entry {
	return add(dir("rootfs/usr/lib"), dir("rootfs/usr/lib/udev"), dir(udevRules), file(udevRules+"/"+name, content))
}

const goodRule = `ACTION!="remove", SUBSYSTEM=="block", KERNEL=="drbd*", OPTIONS:="nowatch"` + "\n"

func TestUdevRules(t *testing.T) {
	for _, content := range []string{
		goodRule, "# Why.\n\n" + goodRule, "KERNEL==\"drbd*\", \\\n  ENV{X}=\"1\"\n", `SYMLINK+="drbd/by-res/$env{RESOURCE}",`,
	} {
		require.NoError(t, Check(rules("61-demo-drbd.rules", content)(good()), want()), content)
	}
	require.NoError(t, Check(rules("61-demo.rules", goodRule)(good()), want()))

	const at = "61-demo-drbd.rules"

	refuses(t, want(), []refusal{
		{"another's name", rules("61-other.rules", goodRule), "61-other.rules: an extension may not"},
		{"a name that begins alike", rules("61-demolition.rules", goodRule), "61-demolition.rules: an extension may not"},
		{"no number", rules("demo.rules", goodRule), "demo.rules: an extension may not"},
		{"no rules by its name", rules("61-demo.rules.bak", goodRule), "61-demo.rules.bak: an extension may not"},
		{"deeper", add(dir(udevRules+"/x"), file(udevRules+"/x/61-demo.rules", goodRule)), "x/61-demo.rules: an extension may not"},
		{"a link", add(dir("rootfs/usr/lib"), dir("rootfs/usr/lib/udev"), dir(udevRules), link(udevRules+"/"+at, "/dev/null")), "rules are no program"},
		{"executable", add(dir("rootfs/usr/lib"), dir("rootfs/usr/lib/udev"), dir(udevRules), program(udevRules+"/"+at, []byte(goodRule))), "rules are no program"},
		{"empty", rules(at, "# Nothing.\n"), at + ": it has no rule"},
		{"what udev doesn't understand", rules(at, `KERNEL=="drbd*" OPTIONS:="nowatch"`), "udev would pass over what is no rule"},
		{"without quotes", rules(at, "KERNEL==drbd*"), "udev would pass over what is no rule"},
		{"a program's output", rules(at, `IMPORT{program}="/usr/sbin/drbdadm sh-udev minor-%m"`), "none of the service's programs"},
		{"a program", rules(at, `KERNEL=="drbd*", RUN+="/bin/true"`), "none of the service's programs"},
		{"a program that is asked", rules(at, `KERNEL=="drbd*", PROGRAM=="/bin/true"`), "none of the service's programs"},
	})
}
