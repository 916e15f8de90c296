// The first guess: where the coarsest scale of one exposure lies on another's.
#pragma once

#include <vector>

#include "align/pyramid.h"
#include "align/warp.h"
#include "smhdr/thread_pool.h"

namespace smhdr::align {

/// Warps (rotation and shift, in the frame) that fit best, best first, at most `most`: every shift up to 12 % of the
/// longer side and every rotation up to 6 degrees is tried. What is compared is the direction of gradients, which
/// neither the exposure nor the tone curve changes (orientation correlation: Fitch, Kadyrov, Christmas and Kittler,
/// 2002).
std::vector<Matrix> search(const Level& reference, const Level& moving, const Grid& grid, size_t most,
                           ThreadPool& pool);

}  // namespace smhdr::align
