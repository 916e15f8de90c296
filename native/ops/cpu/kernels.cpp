// One instruction set's table of kernels.
#include "ops/cpu/kernels.h"

#include "ops/cpu/convolution.h"
#include "ops/cpu/local_branch.h"
#include "ops/cpu/token_kernels.h"
#include "ops/cpu/window_attention.h"

#define SMHDR_TEXT_(x) #x
#define SMHDR_TEXT(x) SMHDR_TEXT_(x)

namespace smhdr::cpu::SMHDR_ISA {

const Kernels& kernels() {
  static constexpr Kernels table{SMHDR_TEXT(SMHDR_ISA),
                                 attention_scratch,
                                 attention_window,
                                 mlp_scratch,
                                 mlp_tokens,
                                 convolution_scratch,
                                 convolution_tile,
                                 layer_norm,
                                 local_scratch,
                                 local_features,
                                 local_output,
                                 exposure_scratch,
                                 exposure_gram,
                                 exposure_mix,
                                 fold,
                                 add};
  return table;
}

}  // namespace smhdr::cpu::SMHDR_ISA
