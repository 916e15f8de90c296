// A fibre: a stack and a place on it to go on from. Switching costs a few nanoseconds, so that the threads of a block
// can take turns at every barrier and every shuffle.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace smhdr::cuda_shim {

struct Fibre {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  const void* stack = nullptr;  // lowest address
  size_t size = 0;

  /// The next switch here calls `entry`, which must not return, on this stack (a multiple of 16 bytes).
  void prepare(void* lowest, size_t bytes, void (*entry)());
};

/// Goes on in `to`; returns when something switches back to `from`. `finished`: nothing will.
void switch_fibre(Fibre& from, Fibre& to, bool finished = false);
/// What a fibre's entry calls first; `from` is who switched to it.
void entered_fibre(Fibre& from);

}  // namespace smhdr::cuda_shim
