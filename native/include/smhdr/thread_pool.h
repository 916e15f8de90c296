// The one place that starts threads. Work is split into numbered items; which thread runs an item never
// changes what the item computes, so results do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace smhdr {

class ThreadPool {
 public:
  /// `threads` <= 0 means one per available processor. The calling thread counts as one of them. Fewer where the system
  /// gives no more.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  /// Calls `body(item, thread)` for every item in [0, items), each exactly once, and returns when all are done.
  /// `thread` is in [0, threads()) and unique among concurrently running calls: use it to index scratch memory.
  /// Not re-entrant: body must not call parallel_for on the same pool. Concurrent callers take turns. What body throws
  /// (std::bad_alloc) is thrown here once no call is left running; items that nobody had begun are left out then.
  void parallel_for(int64_t items, const std::function<void(int64_t item, int thread)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace smhdr
