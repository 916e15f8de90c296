// The forward kernels with products of bfloat16 pairs, for processors with AVX-512 BF16. Activations between ops, sums,
// statistics, softmax and the image-wide reductions stay float32.
#include "ops/cpu/kernels.h"

#include "ops/cpu/convolution.h"
#include "ops/cpu/hybrid_block.h"
#include "ops/cpu/token_kernels.h"

namespace smhdr::cpu::SMHDR_ISA {
namespace {

void pack(const float* weight, int64_t rows, int columns, int taps, void* words) {
  Pair* to = static_cast<Pair*>(words);
  for (int64_t row = 0; row < rows; ++row)
    for (int c = 0; c < columns; c += 2)
      for (int tap = 0; tap < taps; ++tap) {
        const float* from = weight + (row * columns + c) * taps + tap;
        const auto both = (__m128i)_mm_cvtne2ps_pbh(_mm_set_ss(from[taps]), _mm_set_ss(from[0]));
        *to++ = static_cast<Pair>(_mm_extract_epi16(both, 0)) | static_cast<Pair>(_mm_extract_epi16(both, 4)) << 16;
      }
}

}  // namespace

const Kernels& kernels() {
  static const Kernels table = [] {
    Kernels k = avx512::kernels();
    k.name = "avx512, bf16";
    k.pack = pack;
    k.attention_window = attention_window<Pair>;
    k.mlp_tokens = mlp_tokens<Pair>;
    k.convolution_tile = convolution_tile<Pair>;
    k.hybrid_tile = hybrid_tile<Pair>;
    k.exposure_mix = exposure_mix<Pair>;
    return k;
  }();
  return table;
}

}  // namespace smhdr::cpu::SMHDR_ISA
