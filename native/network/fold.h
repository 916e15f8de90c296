// The learnt fold: a 1x1 convolution of every exposure's features into the slots of the body.
#pragma once

#include "smhdr/network.h"

namespace smhdr::network {

/// Where fold.weight has what the features of exposure `exposure` give to channel `channel` of the body: [width].
int64_t fold_row(const NetworkConfig& config, int exposure, int channel);

}  // namespace smhdr::network
