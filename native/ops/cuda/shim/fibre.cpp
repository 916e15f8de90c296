#include "ops/cuda/shim/fibre.h"

#if defined(SMHDR_SANITIZE_ADDRESS)
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves what a called function must keep, and changes stacks.
asm(R"(
.text
.globl smhdr_switch_stack
.type smhdr_switch_stack, @function
smhdr_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size smhdr_switch_stack, .-smhdr_switch_stack
)");
extern "C" void smhdr_switch_stack(void** from, void* to);
#endif

namespace smhdr::cuda_shim {

void Fibre::prepare(void* lowest, size_t bytes, void (*entry)()) {
  stack = lowest;
  size = bytes;
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(static_cast<char*>(lowest) + bytes);
  *--top = nullptr;  // the entry's own return address: it has none
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  stack_pointer = top;
#else
  getcontext(&context);
  context.uc_stack.ss_sp = lowest;
  context.uc_stack.ss_size = bytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
#endif
}

void entered_fibre([[maybe_unused]] Fibre& from) {
#if defined(SMHDR_SANITIZE_ADDRESS)
  __sanitizer_finish_switch_fiber(nullptr, &from.stack, &from.size);
#endif
}

void switch_fibre(Fibre& from, Fibre& to, [[maybe_unused]] bool finished) {
#if defined(SMHDR_SANITIZE_ADDRESS)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(finished ? nullptr : &fake, to.stack, to.size);
#endif
#if defined(__x86_64__)
  smhdr_switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#if defined(SMHDR_SANITIZE_ADDRESS)
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

}  // namespace smhdr::cuda_shim
