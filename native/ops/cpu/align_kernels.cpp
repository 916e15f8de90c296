// Interpolation and normal equations over many points at once. Of interpolation the loads cost most: four points' rows
// of four pixels are read as vectors and turned over in registers.
#include "ops/cpu/align_kernels.h"

#include "ops/cpu/align_rows.h"
#include "ops/cpu/vector.h"

namespace smhdr::cpu::SMHDR_ISA {
namespace {

static_assert(kPointGroup % kLanes == 0);

typedef float Four __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(16)));
typedef float FourAny __attribute__((vector_size(16), aligned(4), may_alias));

SMHDR_INLINE Four load4(const float* p) { return *reinterpret_cast<const FourAny*>(p); }
SMHDR_INLINE void store4(float* p, Four v) { *reinterpret_cast<FourAny*>(p) = v; }
SMHDR_INLINE Four four(float f) { return Four{f, f, f, f}; }

/// Catmull-Rom's weights of the pixels at -1, 0, 1 and 2 for a position t in [0, 1), and their slopes.
SMHDR_INLINE void weights(Four t, Four* w, Four* d) {
  w[0] = t * (t * (1.0f - 0.5f * t) - 0.5f), d[0] = t * (2.0f - 1.5f * t) - 0.5f;
  w[1] = 1.0f + t * t * (1.5f * t - 2.5f), d[1] = t * (4.5f * t - 5.0f);
  w[2] = t * (0.5f + t * (2.0f - 1.5f * t)), d[2] = 0.5f + t * (4.0f - 4.5f * t);
  w[3] = t * t * (0.5f * t - 0.5f), d[3] = t * (1.5f * t - 1.0f);
}

SMHDR_INLINE void turn_over(Four* v) {
  const Four a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5), b = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
  const Four c = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5), d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
  v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5), v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5), v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

template <bool Gradient>
void sample(const AlignField& field, const float* h, const AlignPoints& points, const AlignSamples& out) {
  const float right = static_cast<float>(field.width - 2), bottom = static_cast<float>(field.height - 2);
  const int32_t width = static_cast<int32_t>(field.width);  // fields have a few million pixels
  for (int64_t i = 0; i < points.count; i += 4) {
    const Four px = load4(points.x + i), py = load4(points.y + i);
    const Four d = 1.0f / (h[6] * px + h[7] * py + h[8]);
    const Four x = (h[0] * px + h[1] * py + h[2]) * d, y = (h[3] * px + h[4] * py + h[5]) * d;
    // Written so that NaN fails too. What is not seen reads the first pixels.
    const Ints inside = (x >= 1.0f) & (y >= 1.0f) & (x < right) & (y < bottom);
    const Four sx = inside ? x : four(1), sy = inside ? y : four(1);
    const Ints x0 = __builtin_convertvector(sx, Ints), y0 = __builtin_convertvector(sy, Ints);
    const Four fx = sx - __builtin_convertvector(x0, Four), fy = sy - __builtin_convertvector(y0, Four);
    const Ints corner = (y0 - 1) * width + x0 - 1;
    const Ints nearest = (y0 - (fy >= 0.5f)) * width + x0 - (fx >= 0.5f);  // a true comparison is -1
    const Ints valid = {field.valid[nearest[0]], field.valid[nearest[1]], field.valid[nearest[2]],
                        field.valid[nearest[3]]};
    const Ints seen = inside & (valid != 0);
    Four wx[4], wy[4], ux[4], uy[4];
    weights(fx, wx, ux);
    weights(fy, wy, uy);
    Four column[4] = {}, slope[4] = {};
    for (int row = 0; row < 4; ++row) {
      Four v[4];
      for (int k = 0; k < 4; ++k) v[k] = load4(field.value + corner[k] + row * width);
      turn_over(v);
      for (int c = 0; c < 4; ++c) {
        column[c] += wy[row] * v[c];
        if constexpr (Gradient) slope[c] += uy[row] * v[c];
      }
    }
    Four value{}, dx{}, dy{};
    for (int c = 0; c < 4; ++c) {
      value += wx[c] * column[c];
      if constexpr (Gradient) dx += ux[c] * column[c], dy += wx[c] * slope[c];
    }
    store4(out.value + i, seen ? value : four(__builtin_nanf("")));
    if constexpr (Gradient) store4(out.dx + i, seen ? dx : four(0)), store4(out.dy + i, seen ? dy : four(0));
  }
}

void sample_points(const AlignField& field, const float* warp, const AlignPoints& points, const AlignSamples& out) {
  if (field.width < 4 || field.height < 4) {
    for (int64_t i = 0; i < points.count; ++i) {
      out.value[i] = __builtin_nanf("");
      if (out.dx) out.dx[i] = out.dy[i] = 0;
    }
  } else if (out.dx) {
    sample<true>(field, warp, points, out);
  } else {
    sample<false>(field, warp, points, out);
  }
}

/// Derivatives of the residual by the unknowns, times the root of the weight, for one group of lanes.
template <int Unknowns>
SMHDR_INLINE void derivatives(Vec fx, Vec fy, Vec gx, Vec gy, const float* warp, Vec* j) {
  const Vec depth = warp[6] * fx + warp[7] * fy + 1.0f;
  const Vec d = 1.0f / (depth != 0.0f ? depth : splat(1));  // nothing is seen there
  gx *= d, gy *= d;
  if constexpr (Unknowns == 8) {
    const Vec u = (warp[0] * fx + warp[1] * fy + warp[2]) * d, v = (warp[3] * fx + warp[4] * fy + warp[5]) * d;
    const Vec g = -(gx * u + gy * v);
    j[0] = gx * fx, j[1] = gx * fy, j[2] = gx, j[3] = gy * fx, j[4] = gy * fy, j[5] = gy, j[6] = g * fx, j[7] = g * fy;
  } else {
    j[0] = gx, j[1] = gy;
    if constexpr (Unknowns == 4) j[2] = gx * fx + gy * fy, j[3] = gy * fx - gx * fy;
  }
}

template <int Unknowns>
void sum(const AlignPoints& points, const AlignSamples& samples, const CurvePoint* curve, const float* warp,
         const AlignFrame& frame, float tukey, AlignSums& out) {
  constexpr int kTerms = Unknowns * (Unknowns + 1) / 2;
  constexpr int64_t kBlock = 256;  // points whose derivatives are kept in the first cache
  alignas(64) float expected[kBlock], inverse_sigma[kBlock], residual[kBlock], j[Unknowns][kBlock];
  Vec a[kTerms], b[Unknowns];
  for (Vec& v : a) v = splat(0);
  for (Vec& v : b) v = splat(0);
  const float limit = 1.0f / (tukey * tukey);
  for (int64_t begin = 0; begin < points.count; begin += kBlock) {
    const int64_t n = points.count - begin < kBlock ? points.count - begin : kBlock;
    for (int64_t i = 0; i < n; ++i) {
      const float position = points.position[begin + i];
      const int32_t cell = static_cast<int32_t>(position);
      const float t = position - static_cast<float>(cell);
      const CurvePoint low = curve[cell], high = curve[cell + 1];
      expected[i] = low.value + t * (high.value - low.value);
      inverse_sigma[i] = low.inverse_sigma + t * (high.inverse_sigma - low.inverse_sigma);
    }
    for (int64_t i = 0; i < n; i += kLanes) {
      const int64_t at = begin + i;
      const Vec s = load(inverse_sigma + i), z = (load(samples.value + at) - load(expected + i)) * s;
      const Vec q = 1.0f - z * z * limit;
      // The biweight is q squared: one q goes to each factor. NaN fails the comparison.
      const Vec weight = q > 0.0f ? q : splat(0);
      store(residual + i, q > 0.0f ? z * q : splat(0));
      Vec derivative[Unknowns];
      derivatives<Unknowns>(load(points.x + at) * frame.scale_x + frame.offset_x,
                            load(points.y + at) * frame.scale_y + frame.offset_y,
                            load(samples.dx + at) * s * weight * frame.pixels_x,
                            load(samples.dy + at) * s * weight * frame.pixels_y, warp, derivative);
      for (int r = 0; r < Unknowns; ++r) store(j[r] + i, derivative[r]);
    }
    int k = 0;
#pragma GCC unroll 8
    for (int r = 0; r < Unknowns; ++r) {
      Vec row[Unknowns], right = b[r];
      for (int c = r; c < Unknowns; ++c) row[c] = a[k + c - r];
      for (int64_t i = 0; i < n; i += kLanes) {
        const Vec own = load(j[r] + i);
        right -= own * load(residual + i);
#pragma GCC unroll 8
        for (int c = r; c < Unknowns; ++c) row[c] += own * load(j[c] + i);
      }
      for (int c = r; c < Unknowns; ++c) a[k++] = row[c];
      b[r] = right;
    }
  }
  for (int k = 0; k < kTerms; ++k) {
    out.a[k] = 0;
    for (int lane = 0; lane < kLanes; ++lane) out.a[k] += a[k][lane];
  }
  for (int r = 0; r < Unknowns; ++r) {
    out.b[r] = 0;
    for (int lane = 0; lane < kLanes; ++lane) out.b[r] += b[r][lane];
  }
}

void sum_points(const AlignPoints& points, const AlignSamples& samples, const CurvePoint* curve, const float* warp,
                const AlignFrame& frame, float tukey, int unknowns, AlignSums& out) {
  if (unknowns == 2)
    sum<2>(points, samples, curve, warp, frame, tukey, out);
  else if (unknowns == 4)
    sum<4>(points, samples, curve, warp, frame, tukey, out);
  else
    sum<8>(points, samples, curve, warp, frame, tukey, out);
}

}  // namespace

const AlignKernels align_kernels = {luminance_row, halve_row, level_row, sample_points, sum_points};

}  // namespace smhdr::cpu::SMHDR_ISA
