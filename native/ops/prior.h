// What keeps the prior's logits (PriorArgs in ops.h) finite.
#pragma once

namespace smhdr {

/// Black is 1 / mu, below which the mu-law is all but linear; white is close enough to 1 to be exact to 8 bits, far
/// enough to leave the sigmoid a slope.
constexpr double kPriorBlack = 1.0 / 5000, kPriorWhite = 1.0 / 200;

}  // namespace smhdr
