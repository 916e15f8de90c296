// Which instruction set the CPU kernels use, decided once.
#pragma once

namespace smhdr {

enum class CpuIsa { generic, avx2, avx512, neon };

/// The sets there are for this architecture, the best last.
#if defined(__aarch64__)
inline constexpr CpuIsa kCpuIsas[] = {CpuIsa::generic, CpuIsa::neon};
#else
inline constexpr CpuIsa kCpuIsas[] = {CpuIsa::generic, CpuIsa::avx2, CpuIsa::avx512};
#endif

/// The best set this processor has, or the one the environment variable SMHDR_ISA names (generic, avx2, avx512, neon);
/// a name the processor or the build does not have is ignored.
CpuIsa cpu_isa();

/// Whether this processor and this build have it.
bool cpu_has(CpuIsa isa);

/// Whether pairs of bfloat16 can be multiplied: cpu_isa() is AVX-512 and processor and build have AVX-512 BF16 (Zen 4,
/// Cooper Lake and later).
bool cpu_has_bf16();

/// Whether they can be multiplied on the processor's matrix unit as well (AMX: Sapphire Rapids and later). Linux only.
/// The first call asks the system for the unit, for the whole process; SMHDR_ISA=avx512 leaves it alone.
bool cpu_has_matrix_unit();

/// Whether pairs of bfloat16 are multiplied faster than float32: a matrix unit does, and AMD's vectors nearly twice;
/// those of Intel's (measured on Emerald Rapids) have half the rate.
bool cpu_gains_from_bf16();

const char* cpu_isa_name(CpuIsa isa);

}  // namespace smhdr
