// Bringing one picture's brightness to another's.
#pragma once

#include "motion/flow.h"

namespace smhdr::motion {

/// Maps the values of a picture, in [0, 1], to where the other's mostly are at the same pixels: what tone curves and
/// wrong exposure values leave between two exposures. Medians of the other's values at each level, made monotone, never
/// far from the given value; left out where the pictures would hardly become more alike (then things moved, no curve).
/// Returns how unlike they are then: 0 equal, 1 nowhere near.
double match_levels(Plane& picture, const Plane& other, ThreadPool& pool);

}  // namespace smhdr::motion
