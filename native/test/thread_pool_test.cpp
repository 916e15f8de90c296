#include "smhdr/thread_pool.h"

#include <atomic>
#include <new>
#include <thread>
#include <vector>

#include "check.h"

int main() {
  for (int threads : {1, 2, 5}) {
    smhdr::ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (int64_t items : {0, 1, 2, 1000}) {
      std::vector<std::atomic<int>> seen(items);
      std::atomic<bool> range{true};
      pool.parallel_for(items, [&](int64_t item, int thread) {
        ++seen[item];
        if (thread < 0 || thread >= threads) range = false;
      });
      bool once = true;
      for (auto& count : seen) once = once && count == 1;
      CHECK(once && range);
    }
    // Two callers share a pool by taking turns.
    std::atomic<int> total{0};
    std::thread other([&] { pool.parallel_for(500, [&](int64_t, int) { ++total; }); });
    pool.parallel_for(500, [&](int64_t, int) { ++total; });
    other.join();
    CHECK(total == 1000);
    // What a body throws reaches the caller, whichever thread threw, and the pool goes on.
    for (int64_t bad : {0, 1, 250, 499}) {
      std::atomic<int> running{0};
      bool caught = false;
      try {
        pool.parallel_for(500, [&](int64_t item, int) {
          ++running;
          if (item == bad) {
            --running;
            throw std::bad_alloc();
          }
          std::this_thread::yield();
          --running;
        });
      } catch (const std::bad_alloc&) {
        caught = running == 0;
      }
      CHECK(caught);
      std::atomic<int> after{0};
      pool.parallel_for(500, [&](int64_t, int) { ++after; });
      CHECK(after == 500);
    }
  }
  return smhdr::test::finish();
}
