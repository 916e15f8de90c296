// How matrix products are computed.
#pragma once

namespace smhdr {

enum class Precision {
  fp32,
  bf16,  // factors rounded to bfloat16, sums in fp32; everything between products stays fp32
};

}  // namespace smhdr
