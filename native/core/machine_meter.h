// What this machine can do at most, measured with loops that do nothing else: what kernels are compared with.
#pragma once

#include <cstdint>
#include <memory>

#include "core/cpu_isa.h"
#include "smhdr/thread_pool.h"

namespace smhdr {

/// One sample a call, some ten milliseconds on every thread of `pool`, which must outlive it; take medians.
class MachineMeter {
 public:
  explicit MachineMeter(ThreadPool& pool);
  ~MachineMeter();

  /// Work done (floating-point operations or bytes, the same at every call) and how long it took.
  struct Sample {
    double amount = 0, seconds = 0;
    double rate() const { return seconds > 0 ? amount / seconds : 0; }
  };
  /// Operations of fp32 multiply-adds that never leave the registers of `isa`.
  Sample multiply_adds(CpuIsa isa = cpu_isa());
  /// Operations of products of bfloat16 pairs summed in fp32, on the matrix unit or in vectors (vdpbf16ps); nothing
  /// where the processor has none.
  Sample bf16_products(bool matrix_unit = cpu_has_matrix_unit());
  /// Bytes of a = b + s c over arrays far larger than any cache: two reads and a write.
  Sample triad();
  /// Copying so that `touched` bytes are read and written in all.
  Sample copy(int64_t touched);
  /// Frees the arrays of triad() and copy(), which are kept between calls.
  void release();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace smhdr
