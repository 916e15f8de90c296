// Colour noise that a network left in its picture is taken away: what noise does to the colours alone, which detail
// seldom does. Brightness, where noise and texture look alike, stays as it is.
#pragma once

#include <cstdint>

#include "smhdr/status.h"
#include "smhdr/thread_pool.h"

namespace smhdr {

struct Progress;

/// `picture`: height x width interleaved RGB radiance in [0, 1], changed in place. The two differences of colour of its
/// mu-law values (mu = 5000) are freed of noise: how much there is at each brightness is read off the smoothest
/// squares, and of the frequencies of 8x8 pixels those that do not stand out of it shrink (discrete cosine transform,
/// blocks that overlap by half). A picture of fewer than 64 whole squares of 8x8 stays as it is, and so does what is no
/// number. Results do not depend on the number of threads. Errors: invalid_argument (sides below 1 or above 2^24),
/// out_of_memory, cancelled (some rows are done).
Status take_colour_noise_away(float* picture, int64_t height, int64_t width, ThreadPool& pool,
                              const Progress* progress = nullptr);

}  // namespace smhdr
