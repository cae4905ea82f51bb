package moosefs

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// synEvery is how long the kernel waits for an answer to a SYN for the master before it
// sends the next one. By itself it waits for a second, and who looks for a master that is
// just being started finds it up to a second late.
const synEvery = 100 * time.Millisecond

// cgroupRoot is the control group that all processes of the host are in.
const cgroupRoot = "/sys/fs/cgroup"

// From struct bpf_sock_ops in linux/bpf.h: where its fields are, and the operation that
// asks for the time until the first SYN is sent again, in ticks of the kernel. Addresses
// and ports are in network byte order, each in 32 bits.
const (
	sockOp         = 0
	sockReply      = 4
	sockRemoteIPv4 = 24
	sockRemotePort = 64
	opTimeoutInit  = 1
)

// Hasten implements Hastener, by a program of a few instructions that the kernel asks at
// each connect (BPF_PROG_TYPE_SOCK_OPS, CONFIG_CGROUP_BPF). How long the pauses stay as
// short as the first one is up to net.ipv4.tcp_syn_linear_timeouts.
func (HostSockets) Hasten(remote netip.Addr, first, last uint16) (io.Closer, error) {
	return hastenIn(cgroupRoot, remote, first, last)
}

// hastenIn does it for the processes in the control group at path.
func hastenIn(path string, remote netip.Addr, first, last uint16) (io.Closer, error) {
	ticks, err := kernelTicks(synEvery)
	if err != nil {
		return nil, fmt.Errorf("hasten connections to %s: %w", remote, err)
	}

	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "antler_syn", Type: ebpf.SockOps, AttachType: ebpf.AttachCGroupSockOps, License: "Apache-2.0",
		Instructions: hastening(remote, first, last, ticks),
	})
	if err != nil {
		return nil, fmt.Errorf("hasten connections to %s: load a program into the kernel: %w", remote, err)
	}
	// The kernel keeps it as long as it is attached.
	defer func() { _ = program.Close() }()

	attached, err := link.AttachCgroup(link.CgroupOptions{Path: path, Attach: ebpf.AttachCGroupSockOps, Program: program})
	if err != nil {
		return nil, fmt.Errorf("hasten connections to %s: attach the program to %s: %w", remote, path, err)
	}

	return attached, nil
}

// hastening answers what is asked for connections to the ports of remote, and leaves all else
// as it is.
func hastening(remote netip.Addr, first, last uint16, ticks int32) asm.Instructions {
	const asIs = "as it is"

	ip := remote.As4()

	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, sockOp, asm.Word),
		asm.JNE.Imm(asm.R2, opTimeoutInit, asIs),
		asm.LoadMem(asm.R2, asm.R1, sockRemoteIPv4, asm.Word),
		asm.JNE.Imm32(asm.R2, int32(binary.NativeEndian.Uint32(ip[:])), asIs),
		asm.LoadMem(asm.R2, asm.R1, sockRemotePort, asm.Word),
		asm.HostTo(asm.BE, asm.R2, asm.Word),
		asm.JLT.Imm(asm.R2, int32(first), asIs),
		asm.JGT.Imm(asm.R2, int32(last), asIs),
		asm.Mov.Imm(asm.R3, ticks),
		asm.StoreMem(asm.R1, sockReply, asm.R3, asm.Word),
		asm.Mov.Imm(asm.R0, 1).WithSymbol(asIs),
		asm.Return(),
	}
}

// kernelTicks is how many of its ticks (CONFIG_HZ) the kernel makes in d. The resolution
// of its coarse clock is one of them.
func kernelTicks(d time.Duration) (int32, error) {
	var tick unix.Timespec

	err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &tick)
	if err != nil {
		return 0, fmt.Errorf("ask for the kernel's tick: %w", err)
	}

	return int32(max(1, d/time.Duration(max(1, tick.Nano())))), nil
}
