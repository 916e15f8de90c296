#include "core/cpu_isa.h"

#include <cstdlib>
#include <cstring>

#if defined(SMHDR_HAS_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace smhdr {

bool cpu_has(CpuIsa isa) {
  if (isa == CpuIsa::generic) return true;
#if defined(SMHDR_HAS_AVX2)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == CpuIsa::avx2) return avx2;
  if (isa == CpuIsa::avx512)
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
#if defined(SMHDR_HAS_NEON)
  if (isa == CpuIsa::neon) return true;  // part of every aarch64
#endif
  return false;
}

bool cpu_has_bf16() {
#if defined(SMHDR_HAS_AVX512_BF16)
  return cpu_isa() == CpuIsa::avx512 && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

bool cpu_has_matrix_unit() {
#if defined(SMHDR_HAS_AMX)
  static const bool granted = [] {
    const char* forced = std::getenv("SMHDR_ISA");
    unsigned a, b, c, d;
    constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;
    if (!cpu_has_bf16() || (forced && std::strcmp(forced, "avx512") == 0) || !__get_cpuid_count(7, 0, &a, &b, &c, &d) ||
        (d & (amx_bf16 | amx_tile)) != (amx_bf16 | amx_tile))
      return false;
    // Linux gives a process the unit's registers when it asks: ARCH_REQ_XCOMP_PERM for XTILEDATA.
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
  }();
  return granted;
#else
  return false;
#endif
}

bool cpu_gains_from_bf16() {
#if defined(SMHDR_HAS_AVX512_BF16)
  return cpu_has_matrix_unit() || (cpu_has_bf16() && !__builtin_cpu_is("intel"));
#else
  return false;
#endif
}

const char* cpu_isa_name(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::avx512:
      return "avx512";
    case CpuIsa::avx2:
      return "avx2";
    case CpuIsa::neon:
      return "neon";
    case CpuIsa::generic:
      break;
  }
  return "generic";
}

CpuIsa cpu_isa() {
  static const CpuIsa chosen = [] {
    const char* forced = std::getenv("SMHDR_ISA");
    CpuIsa best = CpuIsa::generic;
    for (CpuIsa isa : kCpuIsas) {
      if (!cpu_has(isa)) continue;
      if (forced && std::strcmp(forced, cpu_isa_name(isa)) == 0) return isa;
      best = isa;
    }
    return best;
  }();
  return chosen;
}

}  // namespace smhdr
