// How long work reports and how it is stopped: polled between pieces of work, from any thread.
#pragma once

#include <atomic>
#include <functional>

namespace smhdr {

struct Progress {
  /// Called with the finished fraction in [0, 1], from the thread that called the long function. May be empty.
  std::function<void(double fraction)> report;
  /// Set to true by anyone to stop; the function then returns ErrorCode::cancelled. May be null.
  const std::atomic<bool>* cancelled = nullptr;

  bool stop() const { return cancelled != nullptr && cancelled->load(std::memory_order_relaxed); }
  void at(double fraction) const {
    if (report) report(fraction);
  }
};

}  // namespace smhdr
