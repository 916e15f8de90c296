#include <algorithm>

#include "ops/ops.h"

namespace smhdr {

/// For devices whose memory is the host's.
void Ops::copy_pixels(const CopyPixelsArgs& args) {
  const auto at = [](const Lattice& l, int image, int row) { return l.data + image * l.per_image + row * l.per_row; };
  for (int image = 0; image < args.images; ++image)
    for (int row = 0; row < args.rows; ++row) {
      const float* from = at(args.from, image, row);
      float* to = at(args.to, image, row);
      for (int column = 0; column < args.columns; ++column)
        std::copy_n(from + column * args.from.per_column, args.channels, to + column * args.to.per_column);
    }
}

}  // namespace smhdr
