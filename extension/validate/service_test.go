package validate

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestService(t *testing.T) {
	s := func(old, replacement string) func([]Entry) []Entry { return text(spec, old, replacement) }
	refuses(t, want(), []refusal{
		{"another name", s("name: demo", "name: other"), "service.name"},
		{"not started again", s("restart: always", "restart: never"), "service.restart"},
		{"no restart", s("restart: always", ""), "service.restart"},
		{"an unknown key", s("restart:", "user: me\nrestart:"), "user"},
		{"a relative program", s("/usr/bin/demo", "demo"), `entrypoint: "demo" would be looked for`},
		{"a program that isn't there", s("/usr/bin/demo", "/usr/bin/gone"), "/usr/bin/gone is not in the service's root"},
		{"a program that is none", change(root+"/usr/bin/demo", func(e *Entry) { e.Mode = 0o644 }), "can't be executed"},
		{"no PATH", s(`environment: ["PATH=/usr/bin"]`, ""), "a service gets no PATH"},
		{"a variable without a value", s(`"PATH=/usr/bin"`, `"PATH=/usr/bin", "X"`), `environment[1]: "X" is no variable`},
		{"a file of variables", s("  environment:", "  environmentFile: /var/env\n  environment:"), "waits for it at every boot"},
		{"a root to write to", s("{rootfsPropagation: shared}", "{rootfsPropagation: shared, writeableRootfs: true}"), "writeableRootfs"},
	})
}

func TestMounts(t *testing.T) {
	s := func(old, replacement string) func([]Entry) []Entry { return text(spec, old, replacement) }
	refuses(t, want(), []refusal{
		{"at the root", s("destination: /var/lib/demo", "destination: /"), `"/" can't be mounted at`},
		{"at a relative path", s("destination: /var/lib/demo", "destination: var"), `"var" can't be mounted at`},
		{"at an unclean path", s("destination: /var/lib/demo", "destination: /var/../etc"), "can't be mounted at"},
		{"of the root", s("source: /var/lib/demo", "source: /"), `type "bind" with source "/"`},
		{"of another type", s("type: bind", "type: tmpfs"), `type "tmpfs"`},
		{"without bind", s("[rbind, rshared, rw]", "[rshared, rw]"), "without it runc mounts nothing"},
		{"shared, but not what is below", s("[rbind, rshared, rw]", "[rbind, shared, rw]"), "write rshared"},
		{"shared, but not the root", s("rootfsPropagation: shared", "rootfsPropagation: slave"), `"slave": a mount of the service would not reach the node`},
		{"shared, and nothing of the root", s("  security: {rootfsPropagation: shared}", ""), `rootfsPropagation: ""`},
		{"only the root shared", s("[rbind, rshared, rw]", "[rbind, rw]"), "would not reach the node"},
		{"twice", s("  security:", "    - {source: /run/x, destination: /var/lib/demo, type: bind, options: [rbind]}\n  security:"), "mounts[1].destination"},
	})
}

// TestDependencies refuses what a node's boot would wait for in vain.
func TestDependencies(t *testing.T) {
	d := func(replacement string) func([]Entry) []Entry { return text(spec, "- service: cri", replacement) }
	refuses(t, want(), []refusal{
		{"/var without cri", d("- service: containerd"), "a mount from /var"},
		{"a configuration", d("- service: cri\n  - configuration: true"), "depends[1].configuration: a node without the document"},
		{"the time", d("- service: cri\n  - time: true"), "depends[1].time"},
		{"a path", d("- service: cri\n  - path: /dev/disk/by-id/x"), "a node on which /dev/disk/by-id/x doesn't come"},
		{"the kubelet", d("- service: cri\n  - service: kubelet"), "kubelet isn't there on every node"},
		{"a service nobody knows", d("- service: crii"), "crii isn't there on every node"},
		{"the way to the outside", d("- service: cri\n  - network: [hostname, connectivity]"), "remove connectivity"},
		{"a cable", d("- service: cri\n  - network: [addresses]"), "remove addresses"},
		{"nothing", d("- service: cri\n  - {}"), "Talos refuses it"},
		{"two in one", d("- {service: cri, time: true}"), "Talos refuses it"},
	})
	fine := d("- service: cri\n  - service: udevd\n  - network: [hostname, etcfiles]")
	require.NoError(t, Check(fine(good()), want()))
}

func TestPrograms(t *testing.T) {
	demo := root + "/usr/bin/demo"
	data := func(content []byte) func([]Entry) []Entry {
		return change(demo, func(e *Entry) { e.Data = content })
	}
	refuses(t, want(), []refusal{
		{"of another architecture", data(header(62)), "demo: it is for EM_X86_64: take the one for arm64"},
		{"broken", data([]byte("\x7fELF")), "broken ELF file"},
		{"without its loader", data(loadedBy("/lib/ld.so")), "demo: it needs /lib/ld.so, which is not in the service's root"},
		{"a script without its shell", data([]byte("#!/bin/sh -e\n")), "it needs /bin/sh"},
		{"a script that looks for its shell", data([]byte("#!/usr/bin/env bash\n")), "looked for in PATH: bash"},
		{"neither", data([]byte("hello")), "it can be executed, and is no program"},
	})
	both := add(program(root+"/usr/bin/script", []byte("#!/bin/demo\n")), program(root+"/usr/bin/loaded", loadedBy("/bin/other")))
	require.NoError(t, Check(both(good()), want()), "a loader may be behind links")
}

// loadedBy is a program with nothing in it but the name of its loader.
func loadedBy(loader string) []byte {
	out := append(header(183), make([]byte, 56)...)
	binary.LittleEndian.PutUint64(out[32:], 64) // program headers follow
	binary.LittleEndian.PutUint16(out[54:], 56)
	binary.LittleEndian.PutUint16(out[56:], 1)
	name := append([]byte(loader), 0)
	binary.LittleEndian.PutUint32(out[64:], 3) // PT_INTERP
	binary.LittleEndian.PutUint64(out[64+8:], uint64(len(out)))
	binary.LittleEndian.PutUint64(out[64+32:], uint64(len(name)))
	return append(out, name...)
}

func TestModules(t *testing.T) {
	kernel := want()
	kernel.Kernel = "6.18.1-talos"
	const extras = "rootfs/usr/lib/modules/6.18.1-talos/extras"
	dirs := []Entry{dir("rootfs/usr/lib"), dir("rootfs/usr/lib/modules"), dir("rootfs/usr/lib/modules/6.18.1-talos"), dir(extras)}
	with := func(more ...Entry) func([]Entry) []Entry { return add(append(dirs, more...)...) }
	built := func(release string) string { return string(module("vermagic=" + release + " SMP aarch64")) }

	require.NoError(t, Check(with(file(extras+"/drbd.ko", built(kernel.Kernel)))(good()), kernel))
	refuses(t, kernel, []refusal{
		{"none", with(), "extras: the modules are missing"},
		{"for another kernel", with(file(extras+"/drbd.ko", built("6.1.0"))), `drbd.ko: the module is for kernel "6.1.0": build it for 6.18.1-talos`},
		{"packed", with(file(extras+"/drbd.ko.xz", "")), "unpack it to a .ko"},
		{"no module", with(program(extras+"/drbd.ko", armProgram)), "drbd.ko: the module is for kernel"},
		{"beside extras", with(file("rootfs/usr/lib/modules/6.18.1-talos/drbd.ko", "")), "6.18.1-talos/drbd.ko: an extension may not"},
	})
}

func TestModuleInfo(t *testing.T) {
	info, err := ModuleInfo(module("depends=lru_cache,libcrc32c", "alias=a", "alias=b", "vermagic=6.1.0 SMP"))
	require.NoError(t, err)
	require.Equal(t, map[string][]string{"depends": {"lru_cache,libcrc32c"}, "alias": {"a", "b"}, "vermagic": {"6.1.0 SMP"}}, info)

	_, err = ModuleInfo(armProgram)
	require.ErrorContains(t, err, "no .modinfo")
	_, err = ModuleInfo([]byte("x"))
	require.Error(t, err)
	_, err = KernelOf(module("license=GPL"))
	require.ErrorContains(t, err, "no vermagic")
}

// module is an ELF file with the sections that say what a kernel module is.
func module(lines ...string) []byte {
	var info bytes.Buffer
	for _, line := range lines {
		info.WriteString(line + "\x00")
	}
	const names = "\x00.modinfo\x00.shstrtab\x00"
	out := header(183)
	infoAt := len(out)
	out = append(out, info.Bytes()...)
	namesAt := len(out)
	out = append(out, names...)
	binary.LittleEndian.PutUint64(out[40:], uint64(len(out)))
	binary.LittleEndian.PutUint16(out[58:], 64)
	binary.LittleEndian.PutUint16(out[60:], 3)
	binary.LittleEndian.PutUint16(out[62:], 2)
	section := func(name, kind uint32, at, size int) {
		s := make([]byte, 64)
		binary.LittleEndian.PutUint32(s, name)
		binary.LittleEndian.PutUint32(s[4:], kind)
		binary.LittleEndian.PutUint64(s[24:], uint64(at))
		binary.LittleEndian.PutUint64(s[32:], uint64(size))
		out = append(out, s...)
	}
	section(0, 0, 0, 0)
	section(1, 1, infoAt, info.Len())
	section(10, 3, namesAt, len(names))
	return out
}
