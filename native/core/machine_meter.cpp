#include "core/machine_meter.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <new>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define SMHDR_METER_X86
#define SMHDR_OPAQUE(value) asm volatile("" : "+v"(value))
#elif defined(__aarch64__) && defined(__GNUC__)
#define SMHDR_OPAQUE(value) asm volatile("" : "+w"(value))
#elif defined(__GNUC__)
#define SMHDR_OPAQUE(value) asm volatile("" : "+m"(value))
#endif

namespace smhdr {
namespace {

constexpr int64_t kSteps = 10'000'000;
/// Enough sums to hide the latency of two multiply-adds a cycle; with both factors they fit into 16 registers.
constexpr int kSums = 12;
constexpr int64_t kTriadFloats = int64_t{16} << 20;
constexpr int64_t kPieces = 64;

#if defined(__GNUC__)
/// `steps` times `sum = next` for kSums independent sums. What the compiler must not know it is told by SMHDR_OPAQUE:
/// it would compute equal sums once, and products of constants never.
#define SMHDR_METER_LOOP(steps, Vec, a, b, next)                     \
  Vec sums[kSums] = {};                                              \
  _Pragma("GCC unroll 16") for (Vec & sum : sums) SMHDR_OPAQUE(sum); \
  for (int64_t step = 0; step < (steps); ++step) {                   \
    _Pragma("GCC unroll 16") for (Vec & sum : sums) sum = (next);    \
    SMHDR_OPAQUE(a);                                                 \
    SMHDR_OPAQUE(b);                                                 \
  }                                                                  \
  for (int i = 1; i < kSums; ++i) sums[0] = sums[0] + sums[i]

#define SMHDR_MULTIPLY_ADDS(name, bytes, ...)              \
  __VA_ARGS__ float name(int64_t steps) {                  \
    typedef float Vec __attribute__((vector_size(bytes))); \
    Vec a = Vec{} + 0.999f, b = Vec{} + 1e-3f;             \
    SMHDR_METER_LOOP(steps, Vec, a, b, sum* a + b);        \
    return sums[0][0];                                     \
  }
SMHDR_MULTIPLY_ADDS(multiply_adds_generic, 16)
#if defined(SMHDR_METER_X86)
SMHDR_MULTIPLY_ADDS(multiply_adds_avx2, 32, __attribute__((target("avx2,fma"))))
SMHDR_MULTIPLY_ADDS(multiply_adds_avx512, 64, __attribute__((target("avx512f"))))

__attribute__((target("avx512f,avx512bf16"))) float bf16_loop(int64_t steps) {
  // Every bfloat16 is 2^-7: the sums stay small.
  __m512i a = _mm512_set1_epi16(0x3c00), b = a;
  SMHDR_METER_LOOP(steps, __m512, a, b, _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b));
  return sums[0][0];
}
#endif
#if defined(SMHDR_HAS_AMX)
constexpr int64_t kTileSteps = 1'000'000;
constexpr int kTileSums = 4;
/// Tiles of zeros: 16 rows of 64 bytes, four sums, their factors beside them.
float tile_loop(int64_t steps) {
  struct alignas(64) {
    uint8_t palette = 1, rest[15] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16};
  } const configuration;
  asm volatile("ldtilecfg %0" : : "m"(configuration));  // all tiles are then zero
  for (int64_t step = 0; step < steps; ++step)
    asm volatile(
        "tdpbf16ps %tmm5, %tmm4, %tmm0\n\ttdpbf16ps %tmm5, %tmm4, %tmm1\n\t"
        "tdpbf16ps %tmm5, %tmm4, %tmm2\n\ttdpbf16ps %tmm5, %tmm4, %tmm3");
  asm volatile("tilerelease");
  return 0;
}
#endif
#else
float multiply_adds_generic(int64_t steps) {
  float sums[4 * kSums] = {};
  volatile float factor = 0.999f;
  for (int64_t step = 0; step < steps; ++step) {
    const float a = factor;
    for (float& sum : sums) sum = sum * a + 1e-3f;
  }
  return sums[0];
}
#endif

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

struct MachineMeter::State {
  ThreadPool& pool;
  std::unique_ptr<float[]> triad;
  std::unique_ptr<unsigned char[]> copied;
  int64_t copied_bytes = 0;
  std::atomic<float> sink{0};

  double run(float (*loop)(int64_t), int64_t steps) {
    const double start = now();
    pool.parallel_for(pool.threads(), [&](int64_t, int) { sink.store(loop(steps), std::memory_order_relaxed); });
    return now() - start;
  }

  template <typename Body>
  double in_pieces(int64_t total, Body body) {
    const double start = now();
    pool.parallel_for(kPieces, [&](int64_t piece, int) {
      const int64_t first = piece * total / kPieces;
      body(first, (piece + 1) * total / kPieces - first);
    });
    return now() - start;
  }
};

MachineMeter::MachineMeter(ThreadPool& pool) : state_(new State{pool, nullptr, nullptr}) {}
MachineMeter::~MachineMeter() = default;

MachineMeter::Sample MachineMeter::multiply_adds([[maybe_unused]] CpuIsa isa) {
  float (*loop)(int64_t) = multiply_adds_generic;
  int lanes = 4;
#if defined(SMHDR_METER_X86)
  if (isa == CpuIsa::avx2) lanes = 8, loop = multiply_adds_avx2;
  if (isa == CpuIsa::avx512) lanes = 16, loop = multiply_adds_avx512;
#endif
  return {2.0 * lanes * kSums * double(kSteps) * state_->pool.threads(), state_->run(loop, kSteps)};
}

MachineMeter::Sample MachineMeter::bf16_products([[maybe_unused]] bool matrix_unit) {
#if defined(SMHDR_HAS_AMX)
  if (matrix_unit && cpu_has_matrix_unit())
    return {2.0 * 32 * 16 * 16 * kTileSums * double(kTileSteps) * state_->pool.threads(),
            state_->run(tile_loop, kTileSteps)};
#endif
#if defined(SMHDR_METER_X86)
  if (__builtin_cpu_supports("avx512bf16") && cpu_has(CpuIsa::avx512))
    return {2.0 * 32 * kSums * double(kSteps) * state_->pool.threads(), state_->run(bf16_loop, kSteps)};
#endif
  return {};
}

MachineMeter::Sample MachineMeter::triad() {
  float* a = state_->triad.get();
  if (!a) {
    state_->triad.reset(a = new float[3 * kTriadFloats]);
    state_->in_pieces(3 * kTriadFloats, [a](int64_t first, int64_t count) { std::fill_n(a + first, count, 1.0f); });
  }
  const float *b = a + kTriadFloats, *c = b + kTriadFloats;
  const double seconds = state_->in_pieces(kTriadFloats, [=](int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; ++i) a[i] = b[i] + 0.5f * c[i];
  });
  return {3.0 * kTriadFloats * sizeof(float), seconds};
}

MachineMeter::Sample MachineMeter::copy(int64_t touched) {
  const int64_t bytes = std::max<int64_t>(touched / 2, 1);
  if (state_->copied_bytes < bytes) {
    state_->copied.reset();
    state_->copied.reset(new unsigned char[2 * bytes]);
    state_->copied_bytes = bytes;
    unsigned char* all = state_->copied.get();
    state_->in_pieces(2 * bytes, [all](int64_t first, int64_t count) { std::memset(all + first, 1, count); });
  }
  unsigned char* to = state_->copied.get();
  const unsigned char* from = to + state_->copied_bytes;
  const double seconds =
      state_->in_pieces(bytes, [=](int64_t first, int64_t count) { std::memcpy(to + first, from + first, count); });
  return {2.0 * double(bytes), seconds};
}

void MachineMeter::release() {
  state_->triad.reset();
  state_->copied.reset();
  state_->copied_bytes = 0;
}

}  // namespace smhdr
