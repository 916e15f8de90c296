// Choosing among the copies of a kernel, one per instruction set, in namespaces of those names.
#pragma once

#include "core/cpu_isa.h"

#if defined(SMHDR_HAS_AVX512)
#define SMHDR_WITH_AVX512(choice) choice
#else
#define SMHDR_WITH_AVX512(choice)
#endif
#if defined(SMHDR_HAS_AVX2)
#define SMHDR_WITH_AVX2(choice) choice
#else
#define SMHDR_WITH_AVX2(choice)
#endif
#if defined(SMHDR_HAS_NEON)
#define SMHDR_WITH_NEON(choice) choice
#else
#define SMHDR_WITH_NEON(choice)
#endif

/// `name` of the set, or the generic one where this build has no other.
// clang-format off
#define SMHDR_OF_ISA(isa, name)                                         \
  (static_cast<void>(isa),                                              \
   SMHDR_WITH_AVX512((isa) == ::smhdr::CpuIsa::avx512 ? avx512::name :) \
   SMHDR_WITH_AVX2((isa) == ::smhdr::CpuIsa::avx2 ? avx2::name :)       \
   SMHDR_WITH_NEON((isa) == ::smhdr::CpuIsa::neon ? neon::name :)       \
   generic::name)
