package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Task is work that falls into n independent pieces. Run does the piece index; worker is a number below Workers()
// that no two goroutines of the same Parallel call share at the same time. The pieces, and what each of them writes,
// must depend on the problem's shape only, never on worker: then results are the same bits for any number of workers.
type Task interface {
	Run(worker, index int)
}

// Workers returns the number of goroutines that a Parallel call started now may use: GOMAXPROCS.
func Workers() int { return runtime.GOMAXPROCS(0) }

// job is one running Parallel call. All fields but next are guarded by pool.mu.
type job struct {
	task    Task
	n       int64
	next    atomic.Int64 // the next index nobody has taken
	inside  atomic.Int64 // workers at work in it; changed under pool.mu only
	joined  int          // workers that ever joined: gives each its number
	limit   int          // workers that may join
	waiting bool         // the caller sleeps on done
	done    chan struct{}
	failure any // the first panic of a piece
}

// pool holds the persistent workers. They look for an open job, spin a little when there is none, then sleep.
var pool struct {
	open    atomic.Int64 // jobs that still admit a worker; changed under mu
	started atomic.Int64 // workers ever started

	mu     sync.Mutex
	wake   sync.Cond
	parked int
	jobs   []*job // open jobs, newest last
	free   []*job
}

func init() {
	pool.wake.L = &pool.mu
}

// spins is how often an idle worker, or a caller whose workers are still busy, looks again before it sleeps: about a
// hundred microseconds, longer than most gaps between two operations of a training step, because to be woken costs some
// twenty of them.
const spins = 100_000

// Parallel runs t.Run for every index in 0..n-1, on the calling goroutine and on at most GOMAXPROCS-1 idle workers,
// and returns when all are done. It allocates nothing once warm. It may be called from several goroutines at once and
// from inside a task: a call never waits for a worker that has not already joined it, so it cannot deadlock.
// A panic of a piece is raised again in the caller after every piece that was started has ended.
func Parallel(t Task, n int) {
	extra := n - 1
	if extra > 0 {
		extra = min(extra, runtime.GOMAXPROCS(0)-1)
	}
	if extra <= 0 {
		for i := range n {
			t.Run(0, i)
		}
		return
	}
	for int(pool.started.Load()) < extra {
		pool.started.Add(1)
		go worker()
	}

	pool.mu.Lock()
	var j *job
	if last := len(pool.free) - 1; last >= 0 {
		j = pool.free[last]
		pool.free = pool.free[:last]
	} else {
		j = &job{done: make(chan struct{}, 1)}
	}
	j.task, j.n, j.joined, j.limit, j.waiting, j.failure = t, int64(n), 0, extra, false, nil
	j.next.Store(0)
	pool.jobs = append(pool.jobs, j)
	pool.open.Add(1)
	for range min(extra, pool.parked) {
		pool.wake.Signal()
	}
	pool.mu.Unlock()

	j.work(0)

	pool.mu.Lock()
	j.close()
	pool.mu.Unlock()
	for i := 0; i < spins && j.inside.Load() > 0; i++ {
		relax(i)
	}
	pool.mu.Lock()
	if j.inside.Load() > 0 {
		j.waiting = true
		pool.mu.Unlock()
		<-j.done
		pool.mu.Lock()
	}
	failure := j.failure
	j.task, j.failure = nil, nil
	pool.free = append(pool.free, j)
	pool.mu.Unlock()
	if failure != nil {
		panic(failure)
	}
}

// work runs pieces until none is left. After a panic it takes no more, and neither does anybody else.
func (j *job) work(worker int) {
	defer func() {
		if r := recover(); r != nil {
			j.next.Store(j.n)
			pool.mu.Lock()
			if j.failure == nil {
				j.failure = r
			}
			pool.mu.Unlock()
		}
	}()
	for {
		i := j.next.Add(1) - 1
		if i >= j.n {
			return
		}
		j.task.Run(worker, int(i))
	}
}

// close takes the job off the list of open ones, if it is still there. The caller holds pool.mu.
func (j *job) close() {
	for i, o := range pool.jobs {
		if o == j {
			copy(pool.jobs[i:], pool.jobs[i+1:])
			pool.jobs[len(pool.jobs)-1] = nil
			pool.jobs = pool.jobs[:len(pool.jobs)-1]
			pool.open.Add(-1)
			return
		}
	}
}

// worker joins open jobs for ever.
func worker() {
	idle := 0
	for {
		if pool.open.Load() == 0 && idle < spins {
			relax(idle)
			idle++
			continue
		}
		pool.mu.Lock()
		if len(pool.jobs) == 0 && idle < spins {
			pool.mu.Unlock()
			idle++
			continue
		}
		for len(pool.jobs) == 0 {
			pool.parked++
			pool.wake.Wait()
			pool.parked--
		}
		j := pool.jobs[len(pool.jobs)-1]
		j.joined++
		id := j.joined
		j.inside.Add(1)
		if j.joined == j.limit {
			j.close()
		}
		pool.mu.Unlock()

		j.work(id)

		pool.mu.Lock()
		j.close() // no piece is left, so nobody else need look at it
		if j.inside.Add(-1) == 0 && j.waiting {
			j.waiting = false
			j.done <- struct{}{}
		}
		pool.mu.Unlock()
		idle = 0
	}
}

// relax passes the time of one look, and now and then lets another goroutine run.
func relax(i int) {
	if i%1024 == 1023 {
		runtime.Gosched()
	}
}
