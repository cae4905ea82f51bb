package containers

import (
	"context"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.uber.org/zap/zaptest"
)

// keep runs one keeper in a bubble of fake time.
func keep(t *testing.T, test func(k *keeper, runtime *fakeRuntime)) {
	t.Helper()

	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		k := newKeeper("chunkserver", runtime, "/log", zaptest.NewLogger(t), func() {})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})

		go func() {
			defer close(done)

			k.hold(ctx)
		}()

		test(k, runtime)
		cancel()
		<-done
		assert.False(t, runtime.twice, "a second instance was started")
	})
}

func status(k *keeper) ContainerStatusSpec {
	s, _ := k.report()

	return s
}

func daemon(arg string) *ContainerSpecSpec {
	return &ContainerSpecSpec{
		Args: []string{arg}, Restart: true, RestartOnChange: true,
		StopSignal: int(syscall.SIGINT), StopTimeout: 7,
	}
}

// Where something else has the processor, what is left of a start that was given up
// takes a minute to delete.
func TestKeeperHearsWhatIsWantedWhileItLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runtime := newFakeRuntime()
		runtime.slow = time.Minute
		runtime.run("mfsmount", *daemon("a"))

		k := newKeeper("mfsmount", runtime, "/log", zaptest.NewLogger(t), func() {})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})

		go func() {
			defer close(done)

			k.run(ctx)
		}()

		synctest.Wait()
		k.set(daemon("a"))
		time.Sleep(runtime.slow)
		synctest.Wait()
		assert.True(t, status(k).Running)
		assert.True(t, status(k).Adopted, "programs have files open there")

		cancel()
		<-done
	})
}

func TestKeeperRestartsWithBackoff(t *testing.T) {
	keep(t, func(k *keeper, runtime *fakeRuntime) {
		k.set(daemon("a"))
		synctest.Wait()
		assert.True(t, status(k).Running)

		for range 8 {
			runtime.end("chunkserver", 3)
			synctest.Wait()
			assert.False(t, status(k).Running, "the end shows at once")
			assert.Equal(t, 3, status(k).ExitCode)
			time.Sleep(backoffMax)
			synctest.Wait()
			assert.True(t, status(k).Running)
			time.Sleep(0)
		}

		assert.Equal(t, 8, status(k).Restarts)
		assert.Equal(t, []string{
			"0s start chunkserver [a]",
			"100ms start chunkserver [a]",
			"5.2s start chunkserver [a]",
			"10.4s start chunkserver [a]",
			"15.8s start chunkserver [a]",
			"21.6s start chunkserver [a]",
			"28.2s start chunkserver [a]",
			"35s start chunkserver [a]",
			"40s start chunkserver [a]",
		}, runtime.log())
	})
}

func TestKeeperFollowsItsSpec(t *testing.T) {
	keep(t, func(k *keeper, runtime *fakeRuntime) {
		k.set(daemon("a"))
		synctest.Wait()
		k.set(daemon("a"))
		synctest.Wait()
		assert.Equal(t, []string{"0s start chunkserver [a]"}, runtime.log(), "unchanged: kept")

		k.set(daemon("b"))
		synctest.Wait()
		assert.Equal(t, []string{"0s stop chunkserver 2 7s", "0s start chunkserver [b]"}, runtime.log())

		patient := daemon("c")
		patient.RestartOnChange = false
		k.set(patient)
		synctest.Wait()
		assert.Empty(t, runtime.log(), "waits for the end of the old")

		runtime.end("chunkserver", 0)
		time.Sleep(time.Second)
		synctest.Wait()
		assert.Equal(t, []string{"100ms start chunkserver [c]"}, runtime.log())

		forced := *patient
		forced.Generation = 1
		k.set(&forced)
		synctest.Wait()
		assert.Len(t, runtime.log(), 2, "a new generation restarts in any case")

		k.set(nil)
		synctest.Wait()
		assert.Equal(t, []string{"1s stop chunkserver 2 7s"}, runtime.log())
		assert.True(t, k.isGone())
	})
}

func TestKeeperLeavesWhatEndedAlone(t *testing.T) {
	keep(t, func(k *keeper, runtime *fakeRuntime) {
		master := daemon("master")
		master.Restart = false
		k.set(master)
		synctest.Wait()
		runtime.end("chunkserver", 9)
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Equal(t, []string{"0s start chunkserver [master]"}, runtime.log())
		assert.Equal(t, 9, status(k).ExitCode)

		again := *master
		again.Generation = 2
		k.set(&again)
		synctest.Wait()
		assert.Equal(t, []string{"1h0m0s start chunkserver [master]"}, runtime.log())
		assert.Equal(t, uint64(2), status(k).Generation)
	})
}

func TestKeeperTellsThatItIsBusy(t *testing.T) {
	keep(t, func(k *keeper, runtime *fakeRuntime) {
		synctest.Wait()
		assert.False(t, status(k).Busy)

		runtime.slow = time.Minute
		k.set(daemon("a"))
		synctest.Wait()
		assert.True(t, status(k).Busy)

		time.Sleep(time.Minute)
		synctest.Wait()
		assert.False(t, status(k).Busy)
		assert.True(t, status(k).Running)

		runtime.slow = 0
		runtime.setDown(true)
		runtime.end("chunkserver", 1)
		time.Sleep(backoffMax)
		synctest.Wait()
		assert.NotEmpty(t, status(k).Error)
		assert.False(t, status(k).Busy, "it pauses before the next try")
	})
}

func TestKeeperConvergesWhenContainerdReturns(t *testing.T) {
	keep(t, func(k *keeper, runtime *fakeRuntime) {
		runtime.setDown(true)
		k.set(daemon("a"))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Contains(t, status(k).Error, errDown.Error())

		runtime.setDown(false)
		time.Sleep(backoffMax)
		synctest.Wait()
		assert.True(t, status(k).Running)
		assert.Empty(t, status(k).Error)
		assert.Len(t, runtime.log(), 1)

		// It ends while containerd is down, and is wanted no more.
		runtime.setDown(true)
		runtime.end("chunkserver", 1)
		synctest.Wait()
		assert.False(t, status(k).Running)
		k.set(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.False(t, k.isGone())
		runtime.setDown(false)
		time.Sleep(backoffMax)
		synctest.Wait()
		assert.True(t, k.isGone())
		assert.Empty(t, runtime.log())
	})
}

func TestKeeperAdopts(t *testing.T) {
	for name, running := range map[string]*ContainerSpecSpec{"same": daemon("a"), "other": daemon("b")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runtime := newFakeRuntime()
				before := runtime.run("chunkserver", *running).PID
				k := newKeeper("chunkserver", runtime, "/log", zaptest.NewLogger(t), func() {})
				ctx, cancel := context.WithCancel(t.Context())

				go k.hold(ctx)

				time.Sleep(time.Hour)
				synctest.Wait()
				assert.True(t, status(k).Adopted)
				assert.Empty(t, runtime.log(), "nobody has said what is wanted")

				k.set(daemon("a"))
				synctest.Wait()
				assert.Equal(t, name == "same", status(k).PID == before)
				assert.Equal(t, Digest(*daemon("a")), status(k).Digest)
				cancel()
				synctest.Wait()
				assert.NotNil(t, runtime.tasks["chunkserver"], "tasks outlive antlerd")
			})
		})
	}
}

// What is only to be ready isn't started; when it is, the spare is taken, and
// the next one is made when the start is over.
func TestKeeperKeepsASpare(t *testing.T) {
	keep(t, func(k *keeper, runtime *fakeRuntime) {
		want := daemon("a")
		want.Restart, want.Spare, want.Stopped = false, true, true
		k.set(want)
		synctest.Wait()
		assert.False(t, status(k).Running)
		assert.Equal(t, []string{"0s prepare chunkserver [a]"}, runtime.log())

		run := *want
		run.Stopped = false
		k.set(&run)
		synctest.Wait()
		assert.True(t, status(k).Running)
		assert.Equal(t, []string{"0s start the spare of chunkserver [a]"}, runtime.log())

		time.Sleep(spareDelay + time.Second)
		synctest.Wait()
		assert.Equal(t, []string{"5s prepare chunkserver [a]"}, runtime.log())

		// It ends, it is certain that nothing begins, and the next generation has its
		// spare at once.
		runtime.end("chunkserver", 1)
		synctest.Wait()
		assert.False(t, status(k).Standby)

		end := *want
		end.Generation = 1
		k.set(&end)
		synctest.Wait()
		assert.True(t, status(k).Standby)
		assert.Equal(t, uint64(1), status(k).StandbyGeneration)
		assert.Empty(t, runtime.log())

		next := run
		next.Generation = 2
		k.set(&next)
		synctest.Wait()
		assert.Equal(t, []string{"6s start the spare of chunkserver [a]"}, runtime.log())

		// Stopped again, it waits again.
		k.set(want)
		synctest.Wait()
		assert.False(t, status(k).Running)
		assert.Equal(t, []string{"6s stop chunkserver 2 7s"}, runtime.log())

		time.Sleep(spareDelay + time.Second)
		synctest.Wait()
		assert.Equal(t, []string{"11s prepare chunkserver [a]"}, runtime.log())

		k.set(nil)
		synctest.Wait()
		assert.Equal(t, []string{"12s remove the spare of chunkserver"}, runtime.log())
	})
}
