#include "core/cpu_isa.h"

#include <cstdlib>
#include <cstring>
#include <initializer_list>

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
  return false;
}

bool cpu_has_bf16() {
#if defined(SMHDR_HAS_AVX512_BF16)
  return cpu_isa() == CpuIsa::avx512 && __builtin_cpu_supports("avx512bf16");
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
    case CpuIsa::generic:
      break;
  }
  return "generic";
}

CpuIsa cpu_isa() {
  static const CpuIsa chosen = [] {
    if (const char* forced = std::getenv("SMHDR_ISA")) {
      for (CpuIsa isa : {CpuIsa::generic, CpuIsa::avx2, CpuIsa::avx512})
        if (std::strcmp(forced, cpu_isa_name(isa)) == 0 && cpu_has(isa)) return isa;
    }
    for (CpuIsa isa : {CpuIsa::avx512, CpuIsa::avx2})
      if (cpu_has(isa)) return isa;
    return CpuIsa::generic;
  }();
  return chosen;
}

}  // namespace smhdr
