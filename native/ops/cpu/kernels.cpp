// One instruction set's table of kernels, all in float32.
#include "ops/cpu/kernels.h"

#include "ops/cpu/backward.h"
#include "ops/cpu/convolution.h"
#include "ops/cpu/hybrid_block.h"
#include "ops/cpu/local_branch.h"
#include "ops/cpu/local_branch_backward.h"
#include "ops/cpu/prior.h"
#include "ops/cpu/token_kernels.h"
#include "ops/cpu/window_attention.h"
#include "ops/cpu/window_attention_backward.h"

#define SMHDR_TEXT_(x) #x
#define SMHDR_TEXT(x) SMHDR_TEXT_(x)

namespace smhdr::cpu::SMHDR_ISA {

const Kernels& kernels() {
  static constexpr Kernels table{SMHDR_TEXT(SMHDR_ISA),
                                 nullptr,
                                 nullptr,
                                 false,
                                 attention_scratch,
                                 attention_window<float>,
                                 mlp_scratch,
                                 mlp_tokens<float>,
                                 convolution_scratch,
                                 convolution_tile<float>,
                                 layer_norm,
                                 local_scratch,
                                 local_statistics,
                                 local_spatial,
                                 local_rectangle,
                                 hybrid_scratch,
                                 hybrid_tile<float>,
                                 exposure_scratch,
                                 exposure_gram,
                                 exposure_mix<float>,
                                 fold,
                                 prior,
                                 add,
                                 prior_backward,
                                 convolution_backward_scratch,
                                 convolution_backward_tile<float>,
                                 norm_backward_scratch,
                                 norm_backward_tokens,
                                 mlp_backward_scratch,
                                 mlp_backward_tokens<float>,
                                 attention_backward_scratch,
                                 attention_backward_window<float>,
                                 local_backward_scratch,
                                 local_backward_gates,
                                 local_backward_spatial,
                                 local_backward_input,
                                 exposure_cross_gram,
                                 exposure_backward_scratch,
                                 exposure_backward_tokens};
  return table;
}

}  // namespace smhdr::cpu::SMHDR_ISA
