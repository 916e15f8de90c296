// The kernels with products of bfloat16 pairs, for processors with AVX-512 BF16, and once more for those with a matrix
// unit; without one, the forward kernels only. Activations between ops, sums,
// statistics, softmax and the image-wide reductions stay float32.
#include "ops/cpu/kernels.h"

#include <cstring>

#include "ops/cpu/backward.h"
#include "ops/cpu/convolution.h"
#include "ops/cpu/hybrid_block.h"
#include "ops/cpu/token_kernels.h"
#include "ops/cpu/window_attention_backward.h"

namespace smhdr::cpu::SMHDR_ISA {
namespace {

#if defined(__AMX_BF16__)
/// [row / 16][tap][column / 32] tiles, filled up with zeros.
int64_t packed_words(int64_t rows, int columns, int taps) {
  return (rows + kTileSide - 1) / kTileSide * taps * tile_depth(columns / 2) * kTileWords;
}
int64_t place(int64_t row, int word, int tap, int columns, int taps) {
  const int64_t tile = (row / kTileSide * taps + tap) * tile_depth(columns / 2) + word / kTileSide;
  return tile * kTileWords + row % kTileSide * kTileSide + word % kTileSide;
}
#else
int64_t packed_words(int64_t rows, int columns, int taps) { return rows * columns * taps / 2; }
int64_t place(int64_t row, int word, int tap, int columns, int taps) { return (row * columns / 2 + word) * taps + tap; }
#endif

void pack(const float* weight, int64_t rows, int columns, int taps, void* words) {
  Pair* to = static_cast<Pair*>(words);
  if constexpr (kTiled) std::memset(to, 0, packed_words(rows, columns, taps) * sizeof(Pair));
  for (int64_t row = 0; row < rows; ++row)
    for (int c = 0; c < columns; c += 2)
      for (int tap = 0; tap < taps; ++tap) {
        const float* from = weight + (row * columns + c) * taps + tap;
        const auto both = (__m128i)_mm_cvtne2ps_pbh(_mm_set_ss(from[taps]), _mm_set_ss(from[0]));
        to[place(row, c / 2, tap, columns, taps)] =
            static_cast<Pair>(_mm_extract_epi16(both, 0)) | static_cast<Pair>(_mm_extract_epi16(both, 4)) << 16;
      }
}

}  // namespace

const Kernels& kernels() {
  static const Kernels table = [] {
    Kernels k = avx512::kernels();
    k.name = kTiled ? "amx, bf16" : "avx512, bf16";
    k.pack = pack;
    k.packed_words = packed_words;
    k.attention_scratch = attention_scratch;
    k.attention_window = attention_window<Pair>;
    k.mlp_scratch = mlp_scratch;
    k.mlp_tokens = mlp_tokens<Pair>;
    k.convolution_scratch = convolution_scratch;
    k.convolution_tile = convolution_tile<Pair>;
    k.hybrid_scratch = hybrid_scratch;
    k.hybrid_tile = hybrid_tile<Pair>;
    k.exposure_scratch = exposure_scratch;
    k.exposure_mix = exposure_mix<Pair>;
    if constexpr (kTiled) {
      k.packed_backward = true;
      k.convolution_backward_scratch = convolution_backward_scratch;
      k.convolution_backward_tile = convolution_backward_tile<Pair>;
      k.mlp_backward_scratch = mlp_backward_scratch;
      k.mlp_backward_tokens = mlp_backward_tokens<Pair>;
      k.attention_backward_scratch = attention_backward_scratch;
      k.attention_backward_window = attention_backward_window<Pair>;
    }
    return k;
  }();
  return table;
}

}  // namespace smhdr::cpu::SMHDR_ISA
