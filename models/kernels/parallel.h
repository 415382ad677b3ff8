#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace concertina {

// Intra-operation threads: one pool for our kernels (thread_pool.h). Thread-safe, but meant for one
// thread, the engine's: while it has the pool, loops of other threads run on these alone, and so do
// loops within loops. LibTorch's operators run on the calling thread alone inside a loop; outside
// they start threads of their own, whose spinning slows ours down for milliseconds.

// Sets the number of threads, at least 1, of the loops and of LibTorch's operators. Not while a
// loop runs.
void SetThreads(int threads);
// As many as the machine has processors until it is set.
int Threads();

// Calls `body(b, e)` on disjoint sub-ranges that cover [begin, end), none of less than half
// of `grain` unless all of it is, and returns when all are done. The same part of a range goes to
// the same thread each time, as far as that is free. `body` must not throw.
void ParallelFor(int64_t begin, int64_t end, int64_t grain,
                 absl::FunctionRef<void(int64_t, int64_t)> body);

// Calls `body(worker, task)` once for every task in [0, tasks), in ascending order of start,
// handing the next task to whichever worker is free (tasks may be of very unequal cost). worker <
// Threads().
void ParallelTasks(int64_t tasks, absl::FunctionRef<void(int worker, int64_t task)> body);

}  // namespace concertina
