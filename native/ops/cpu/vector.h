// Vectors of the instruction set being compiled for, and the few functions the kernels share. Portable vector types;
// intrinsics only for partial loads and stores. Everything is forced inline: no symbol may be shared between sets.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(SMHDR_NEON)  // every aarch64 has it: CMakeLists.txt says which set is to use it
#include <arm_neon.h>
#endif

#include <cstdint>
#include <utility>

#define SMHDR_INLINE [[gnu::always_inline]] static inline
#define SMHDR_MEMBER_INLINE [[gnu::always_inline]] inline

namespace smhdr::cpu::SMHDR_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kColumns = 4;  // vectors of tokens in a register block
#elif defined(__AVX2__)
constexpr int kLanes = 8;
constexpr int kColumns = 2;
#elif defined(SMHDR_NEON)
constexpr int kLanes = 4;
constexpr int kColumns = 4;  // 24 sums, 4 inputs and a weight of 32 registers
#else
constexpr int kLanes = 4;
constexpr int kColumns = 2;
#endif
constexpr int kRows = 6;  // outputs in a register block

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef float VecAny __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(kLanes * 4)));

SMHDR_INLINE Vec load(const float* p) { return *reinterpret_cast<const VecAny*>(p); }
SMHDR_INLINE void store(float* p, Vec v) { *reinterpret_cast<VecAny*>(p) = v; }
/// Not Vec{} + f: for a negative zero's sake that would be an addition before every broadcast.
SMHDR_INLINE Vec splat(float f) {
#if defined(__AVX512F__)
  return _mm512_set1_ps(f);
#elif defined(__AVX2__)
  return _mm256_set1_ps(f);
#else
  return Vec{f, f, f, f};
#endif
}
// Without -ffast-math gcc makes a comparison and a blend of a > b ? a : b.
SMHDR_INLINE Vec max(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#elif defined(SMHDR_NEON)
  return vmaxq_f32(a, b);
#else
  return a > b ? a : b;
#endif
}
SMHDR_INLINE Vec min(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_min_ps(a, b);
#elif defined(SMHDR_NEON)
  return vminq_f32(a, b);
#else
  return a < b ? a : b;
#endif
}
/// Nothing stays in a vector register across this. Before a loop whose sums fill the sixteen there are: gcc else keeps
/// constants of the code around it there, and spills a sum in the loop, which then waits for memory at every step.
SMHDR_INLINE void empty_registers() {
#if defined(__x86_64__) && !defined(__AVX512F__)
  asm volatile("" ::
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                     "xmm12", "xmm13", "xmm14", "xmm15");
#endif
}
/// Brings `bytes` from `p` towards the cache, to be there when the next piece of work begins.
template <int Locality>
SMHDR_INLINE void prefetch(const float* p, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(reinterpret_cast<const char*>(p) + i, 0, Locality);
}

#if defined(__AVX2__) && !defined(__AVX512F__)
/// All bits of the first n lanes.
SMHDR_INLINE __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

/// The first n lanes, n < kLanes; the rest zero.
SMHDR_INLINE Vec load_part(const float* p, int n) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#elif defined(__AVX2__)
  return _mm256_maskload_ps(p, first_lanes(n));
#else
  Vec v{};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}
/// The first n lanes, n < kLanes; the rest of `rest`.
SMHDR_INLINE Vec load_part_or(const float* p, int n, Vec rest) {
#if defined(__AVX512F__)
  return _mm512_mask_loadu_ps(rest, static_cast<__mmask16>((1u << n) - 1), p);
#elif defined(__AVX2__)
  const __m256i some = first_lanes(n);
  return _mm256_blendv_ps(rest, _mm256_maskload_ps(p, some), _mm256_castsi256_ps(some));
#else
  for (int i = 0; i < n; ++i) rest[i] = p[i];
  return rest;
#endif
}
SMHDR_INLINE void store_part(float* p, Vec v, int n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, first_lanes(n), v);
#else
  for (int i = 0; i < n; ++i) p[i] = v[i];
#endif
}

SMHDR_INLINE float sum(Vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(v);
#elif defined(SMHDR_NEON)
  return vaddvq_f32(v);
#else
  float total = 0;
  for (int i = 0; i < kLanes; ++i) total += v[i];
  return total;
#endif
}

SMHDR_INLINE Vec square_root(Vec v) {
#if defined(__AVX512F__)
  return _mm512_sqrt_ps(v);
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(v);
#elif defined(SMHDR_NEON)
  return vsqrtq_f32(v);
#else
  Vec out;
  for (int i = 0; i < kLanes; ++i) out[i] = __builtin_sqrtf(v[i]);
  return out;
#endif
}

/// 2^x on [-1/2, 1/2] as polynomials, the highest power first: relative error 1e-7, 1e-4.
inline constexpr float kExp2[] = {0.00132764718f, 0.0096755418f, 0.0555071328f,
                                  0.240221197f,   0.693146967f,  1.00000007f};
inline constexpr float kExp2Coarse[] = {0.0551716685f, 0.242611125f, 0.693260968f, 0.999928057f};

/// 2^x for x <= 126; below -60 it stays at 2^-60, far less than float32 tells apart beside 1, so that what it is
/// multiplied by leaves no subnormal number, with which some processors take a hundred times as long.
template <int Size>
SMHDR_INLINE Vec exp2_by(Vec x, const float (&polynomial)[Size]) {
  x = max(x, splat(-60.0f));
  const Vec rounder = splat(12582912.0f);  // 1.5 * 2^23: adding it leaves the integer part in the low bits
  const Vec shifted = x + rounder;
  const Vec r = x - (shifted - rounder);
  Vec p = splat(polynomial[0]);
#pragma GCC unroll 8
  for (int i = 1; i < Size; ++i) p = p * r + polynomial[i];
  return reinterpret_cast<Vec>(reinterpret_cast<IntVec>(p) + (reinterpret_cast<IntVec>(shifted) << 23));
}
SMHDR_INLINE Vec exp2(Vec x) { return exp2_by(x, kExp2); }

/// ln x for positive normal x, relative error of x 2e-7: the exponent, and a polynomial over a mantissa around 1.
SMHDR_INLINE Vec natural_log(Vec x) {
  const IntVec bits = reinterpret_cast<IntVec>(x);
  // From sqrt(1/2) up to sqrt 2, so that the polynomial's argument is small.
  const IntVec exponent = (bits - 0x3f3504f3) >> 23;
  const Vec m = reinterpret_cast<Vec>(bits - (exponent << 23)) - 1.0f;
  const Vec m2 = m * m;
  Vec p = splat(7.0376836292e-2f);  // Cephes, logf
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  return m + (m2 * (p * m - 0.5f) + 0.693147181f * __builtin_convertvector(exponent, Vec));
}

/// 1 / v to 1e-7 for positive v below 2^126: an estimate and one Newton step cost a third of a division. (NEON's
/// estimate has 8 bits and would need two steps, five instructions for one: not without a measurement on such a
/// processor.)
SMHDR_INLINE Vec reciprocal(Vec v) {
#if defined(__AVX512F__)
  const Vec estimate = _mm512_rcp14_ps(v);
#elif defined(__AVX2__)
  const Vec estimate = _mm256_rcp_ps(v);
#else
  return 1.0f / v;
#endif
#if defined(__AVX2__)
  return estimate + estimate * (1.0f - v * estimate);
#endif
}
/// 1 / sqrt v to 2e-7 for positive normal v, by an estimate and a Newton step.
SMHDR_INLINE Vec reciprocal_root(Vec v) {
#if defined(__AVX512F__)
  const Vec estimate = _mm512_rsqrt14_ps(v);
#elif defined(__AVX2__)
  const Vec estimate = _mm256_rsqrt_ps(v);
#else
  return 1.0f / square_root(v);
#endif
#if defined(__AVX2__)
  return estimate * (1.5f - 0.5f * v * estimate * estimate);
#endif
}

SMHDR_INLINE Vec sigmoid(Vec x) {
  const Vec scaled = min(x * -1.44269504f, splat(125.0f));
  return reciprocal(1.0f + exp2(scaled));
}

/// Phi(x) = (1 + erf(x / sqrt 2)) / 2; erf is a rational minimax fit in z^2 on |z| < 3.95, absolute error 4e-7.
SMHDR_INLINE Vec normal_distribution(Vec x) {
  const Vec z = min(max(x * 0.707106781f, splat(-3.95f)), splat(3.95f));
  const Vec t = z * z;
  Vec p = splat(2.0117369e-06f);
  p = p * t + 0.000287601029f;
  p = p * t + 0.00391734048f;
  p = p * t + 0.0532071315f;
  p = p * t + 0.194036231f;
  p = p * t + 1.12837901f;
  Vec q = splat(3.78396729e-05f);
  q = q * t + 0.00119820611f;
  q = q * t + 0.0152707482f;
  q = q * t + 0.115590976f;
  q = q * t + 0.50529162f;
  q = q * t + 1.0f;
  return 0.5f + 0.5f * (z * p * reciprocal(q));
}
SMHDR_INLINE Vec gelu(Vec x) { return x * normal_distribution(x); }

/// GELU's derivative, Phi(x) + x phi(x), with Phi(x) given.
SMHDR_INLINE Vec gelu_slope(Vec x, Vec distribution) {
  const Vec z = min(max(x, splat(-12.0f)), splat(12.0f));
  return distribution + z * (0.398942280f * exp2(z * z * -0.721347520f));
}

/// Lane by lane: from `a` where the lane's bit `Step` is clear, else `b` from Step lanes lower; and its counterpart.
template <int Step, int... Lane>
SMHDR_INLINE void exchange(Vec& a, Vec& b, std::integer_sequence<int, Lane...>) {
  const Vec low = __builtin_shufflevector(a, b, ((Lane & Step) ? kLanes + Lane - Step : Lane)...);
  b = __builtin_shufflevector(a, b, ((Lane & Step) ? kLanes + Lane : Lane + Step)...);
  a = low;
}
template <int Step>
SMHDR_INLINE void transpose_step(Vec* v) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if (!(i & Step)) exchange<Step>(v[i], v[i + Step], std::make_integer_sequence<int, kLanes>());
}
/// kLanes vectors seen as a square, transposed in registers.
SMHDR_INLINE void transpose(Vec* v) {
  transpose_step<1>(v);
  transpose_step<2>(v);
  if constexpr (kLanes > 4) transpose_step<4>(v);
  if constexpr (kLanes > 8) transpose_step<8>(v);
}

/// Calls body(c, n): whole vectors with n = kLanes, then the remainder with n < kLanes. `Whole`: the number of whole
/// vectors where it is known, so that the loop unrolls.
template <int Whole = -1, typename Body>
SMHDR_INLINE void for_channels(int channels, Body body) {
  const int whole = Whole < 0 ? channels / kLanes : Whole;
#pragma GCC unroll 4
  for (int i = 0; i < whole; ++i) body(i * kLanes, kLanes);
  if (whole * kLanes < channels) body(whole * kLanes, channels - whole * kLanes);
}
SMHDR_INLINE Vec load_some(const float* p, int n) { return n == kLanes ? load(p) : load_part(p, n); }
SMHDR_INLINE void store_some(float* p, Vec v, int n) { n == kLanes ? store(p, v) : store_part(p, v, n); }

}  // namespace smhdr::cpu::SMHDR_ISA
