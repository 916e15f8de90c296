#include "smhdr/thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace smhdr {

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::mutex callers;  // one parallel_for at a time
  std::mutex mutex;
  std::condition_variable wake, done;
  const std::function<void(int64_t, int)>* body = nullptr;
  int64_t items = 0;
  std::atomic<int64_t> next{0};
  uint64_t generation = 0;
  int busy = 0;
  bool stopping = false;
  std::exception_ptr failure;  // the first of this call; guarded by mutex

  void work(int thread) {
    try {
      for (int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < items;) (*body)(item, thread);
    } catch (...) {
      next.store(items, std::memory_order_relaxed);
      std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  if (threads < 1) threads = 1;
  State* s = state_.get();
  s->workers.reserve(threads - 1);
  for (int thread = 1; thread < threads; ++thread) {
    const auto run = [s, thread] {
      uint64_t seen = 0;
      std::unique_lock lock(s->mutex);
      for (;;) {
        s->wake.wait(lock, [&] { return s->stopping || s->generation != seen; });
        if (s->stopping) return;
        seen = s->generation;
        lock.unlock();
        s->work(thread);
        lock.lock();
        if (--s->busy == 0) s->done.notify_one();
      }
    };
    try {
      s->workers.emplace_back(run);
    } catch (const std::system_error&) {
      return;  // the process may have no more: those that started do the work
    }
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  for (auto& worker : state_->workers) worker.join();
}

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::parallel_for(int64_t items, const std::function<void(int64_t, int)>& body) {
  State& s = *state_;
  std::lock_guard turn(s.callers);
  if (s.workers.empty() || items <= 1) {
    for (int64_t item = 0; item < items; ++item) body(item, 0);
    return;
  }
  {
    std::lock_guard lock(s.mutex);
    s.body = &body;
    s.items = items;
    s.next.store(0, std::memory_order_relaxed);
    s.busy = static_cast<int>(s.workers.size());
    ++s.generation;
  }
  s.wake.notify_all();
  s.work(0);
  std::unique_lock lock(s.mutex);
  s.done.wait(lock, [&] { return s.busy == 0; });
  if (s.failure) std::rethrow_exception(std::exchange(s.failure, nullptr));
}

}  // namespace smhdr
