#include "ops/cpu/exposure_sampling.h"

#include "ops/cpu/exposure_rows.h"

namespace smhdr::cpu::SMHDR_ISA {
namespace {

constexpr int kWidth = kSampledColumns;

template <typename Decode>
void straight_roots(const SampledExposure& e, const ExposureRows& rows, const int32_t* columns, int64_t y,
                    float (&root)[3][kWidth + kLanes], Decode decode) {
  const int64_t line = (clamp(y, rows.begin, rows.end - 1) - rows.begin) * e.width;
  for (int x = 0; x < kWidth; ++x) {
    const int64_t at = (line + columns[x]) * 3;
    for (int c = 0; c < 3; ++c) root[c][x] = decode(rows.data, at + c);
  }
  for (auto& plane : root)
    for (int x = 0; x < kWidth; ++x) plane[x] = __builtin_sqrtf(plane[x]);
}

template <typename Decode>
void moved_roots(const SampledExposure& e, const ExposureRows& rows, const int32_t* columns, int64_t y,
                 MovedRoots<kWidth>& moved, float (&root)[3][kWidth + kLanes], Decode decode) {
  Places<kWidth> places;
  alignas(64) float seen[kWidth];
  find_places<Beyond::border>(e.width, e.height, e.homography, columns, y, places, seen);
  places.weigh();
  float* const out[3] = {root[0], root[1], root[2]};
  moved.at(e.width, rows, places, seen, out, decode);
}

}  // namespace

void sample_rows(const SampledExposure& e, const ExposureRows& rows, const int32_t* columns, int count,
                 const int32_t* lines, int line_count, float* out, int64_t out_stride) {
  alignas(64) float root[3][kWidth + kLanes], value[6][kWidth];
  MovedRoots<kWidth> moved;
  if (e.aligned) moved.begin();
  for (int line = 0; line < line_count; ++line, out += out_stride) {
    const auto read = [&](auto decode) {
      if (e.aligned)
        moved_roots(e, rows, columns, lines[line], moved, root, decode);
      else
        straight_roots(e, rows, columns, lines[line], root, decode);
    };
    with_decode(e.depth, e.table, e.table_size, read, e.gain);
    const float* curve = e.curve;
    for (int c = 0; c < 3; ++c)
      for (int x = 0; x < kWidth; ++x) {
        const float r = root[c][x], place = at_most(r, 1.0f) * kCurveSteps;
        const int32_t below = static_cast<int32_t>(place);
        value[c][x] = r * r * e.scale;
        value[3 + c][x] = curve[below] + (place - below) * (curve[below + 1] - curve[below]);
      }
    for (int x = 0; x < count; ++x)
      for (int k = 0; k < 6; ++k) out[6 * x + k] = value[k][x];
  }
}

}  // namespace smhdr::cpu::SMHDR_ISA
