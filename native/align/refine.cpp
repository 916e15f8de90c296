#include "align/refine.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/cpu_isa.h"

namespace smhdr::align {
namespace {

constexpr int64_t kCell = 8;  // points are spread by taking the best of each 8x8 cell
constexpr int64_t kMostPerCell = 32;
constexpr float kLeastGradient = 0.004f;  // natural-log units per pixel
constexpr int64_t kChunk = 4096;          // points summed together: fixed, so that results do not depend on threads
constexpr float kTukey = 4.685f;          // 95 % efficiency for normal noise

static_assert(kChunk % cpu::kPointGroup == 0);

const cpu::AlignKernels& kernels() { return cpu::align_kernels(cpu_isa()); }

std::array<float, 9> as_floats(const Matrix& m) {
  std::array<float, 9> out;
  std::copy(m.begin(), m.end(), out.begin());
  return out;
}

struct Samples {
  std::vector<float> value, dx, dy;
};

/// The chunk of points from `begin` on, and where their samples go.
cpu::AlignPoints chunk_of(const Points& points, int64_t begin) {
  const int64_t count = std::min<int64_t>(kChunk, int64_t(points.x.size()) - begin);
  return {&points.x[begin], &points.y[begin], &points.position[begin], count};
}
int64_t chunks_of(const Points& points) { return (int64_t(points.x.size()) + kChunk - 1) / kChunk; }

void take_samples(const Points& points, const Level& moving, const Matrix& on_pixels, ThreadPool& pool, Samples& out,
                  bool gradients) {
  const std::array<float, 9> warp = as_floats(on_pixels);
  const cpu::AlignField field{moving.value.data(), moving.valid.data(), moving.width, moving.height};
  out.value.resize(points.x.size());
  if (gradients) out.dx.resize(points.x.size()), out.dy.resize(points.x.size());
  pool.parallel_for(chunks_of(points), [&](int64_t chunk, int) {
    const int64_t begin = chunk * kChunk;
    kernels().sample(field, warp.data(), chunk_of(points, begin),
                     {&out.value[begin], gradients ? &out.dx[begin] : nullptr, gradients ? &out.dy[begin] : nullptr});
  });
}

/// Tukey's biweight cost, scaled to [0, 1], of a residual in units of its spread.
float tukey_cost(float z) {
  const float q = 1.0f - std::min(1.0f, z * z / (kTukey * kTukey));
  return 1.0f - q * q * q;
}

int unknowns_of(AlignModel model) {
  return model == AlignModel::homography ? 8 : model == AlignModel::similarity ? 4 : 2;
}

/// What a step in the unknowns of cpu::AlignSums adds to the warp.
Matrix change_of(int unknowns, const double* step) {
  if (unknowns == 2) return {0, 0, step[0], 0, 0, step[1], 0, 0, 0};
  if (unknowns == 4) return {step[2], -step[3], step[0], step[3], step[2], step[1], 0, 0, 0};
  return {step[0], step[1], step[2], step[3], step[4], step[5], step[6], step[7], 0};
}

/// Solves the normal equations by Cholesky; false where they are singular, as far as sums of floats can tell.
bool solve(const cpu::AlignSums& sums, int n, double* y) {
  constexpr double kSingular = 1e-7;
  double a[8][8], largest = 0;
  for (int r = 0, k = 0; r < n; ++r) {
    y[r] = sums.b[r];
    for (int c = r; c < n; ++c) a[c][r] = sums.a[k++];
    largest = std::max(largest, a[r][r]);
  }
  for (int c = 0; c < n; ++c) {
    double d = a[c][c] * (1 + 1e-9);
    for (int k = 0; k < c; ++k) d -= a[c][k] * a[c][k];
    if (!(d > kSingular * largest)) return false;
    a[c][c] = std::sqrt(d);
    for (int r = c + 1; r < n; ++r) {
      for (int k = 0; k < c; ++k) a[r][c] -= a[r][k] * a[c][k];
      a[r][c] /= a[c][c];
    }
  }
  for (int r = 0; r < n; ++r) {
    for (int k = 0; k < r; ++k) y[r] -= a[r][k] * y[k];
    y[r] /= a[r][r];
  }
  for (int r = n - 1; r >= 0; --r) {
    for (int k = r + 1; k < n; ++k) y[r] -= a[k][r] * y[k];
    y[r] /= a[r][r];
  }
  return true;
}

}  // namespace

Selection select_points(const Level& reference, int64_t most_points) {
  const int64_t width = reference.width, height = reference.height;
  const int64_t cells = ((width + kCell - 1) / kCell) * ((height + kCell - 1) / kCell);
  const size_t per_cell = size_t(std::clamp<int64_t>(most_points / std::max<int64_t>(cells, 1), 2, kMostPerCell));
  const int64_t block = std::clamp<int64_t>(reference.longer_side() / 24 / kCell * kCell, kCell, 4 * kCell);
  const int64_t across = (width + block - 1) / block;

  Selection selection;
  struct Candidate {
    float strength;
    int32_t x, y;
  };
  Candidate cell[kMostPerCell];
  for (int64_t by = 0; by * block < height; ++by)
    for (int64_t bx = 0; bx < across; ++bx) {
      // Every fourth block along a row, shifted by two from row to row.
      Points& points = (bx + 2 * by) % 4 == 0 ? selection.held_out : selection.fit;
      const int64_t bottom = std::min((by + 1) * block, height), right = std::min((bx + 1) * block, width);
      for (int64_t y0 = by * block; y0 < bottom; y0 += kCell)
        for (int64_t x0 = bx * block; x0 < right; x0 += kCell) {
          size_t kept = 0;
          for (int64_t y = std::max<int64_t>(y0, 1); y < std::min({y0 + kCell, bottom, height - 1}); ++y)
            for (int64_t x = std::max<int64_t>(x0, 1); x < std::min({x0 + kCell, right, width - 1}); ++x) {
              const int64_t i = y * width + x;
              if (!reference.valid[i]) continue;
              const float dx = 0.5f * (reference.value[i + 1] - reference.value[i - 1]);
              const float dy = 0.5f * (reference.value[i + width] - reference.value[i - width]);
              const float strength = dx * dx + dy * dy;
              if (!(strength > kLeastGradient * kLeastGradient)) continue;
              // The strongest so far, in order; of equal ones the first.
              if (kept == per_cell && !(strength > cell[kept - 1].strength)) continue;
              if (kept < per_cell) ++kept;
              size_t k = kept - 1;
              for (; k > 0 && strength > cell[k - 1].strength; --k) cell[k] = cell[k - 1];
              cell[k] = {strength, int32_t(x), int32_t(y)};
            }
          for (size_t k = 0; k < kept; ++k) {
            points.x.push_back(float(cell[k].x));
            points.y.push_back(float(cell[k].y));
            points.position.push_back(Photometric::position_of(reference.value[cell[k].y * width + cell[k].x]));
            points.block.push_back(int32_t(by * across + bx));
          }
        }
    }
  for (Points* points : {&selection.fit, &selection.held_out})
    while (points->x.size() % cpu::kPointGroup != 0) {
      points->x.push_back(cpu::kNowhere), points->y.push_back(cpu::kNowhere);
      points->position.push_back(0);
    }
  selection.fit.across = selection.held_out.across = across;
  selection.fit.blocks = selection.held_out.blocks = across * ((height + block - 1) / block);
  return selection;
}

Matrix refine(const Pair& pair, Matrix warp, AlignModel model, int most_steps, double tolerance, ThreadPool& pool) {
  const Points& points = pair.points.fit;
  const int unknowns = unknowns_of(model);
  const Grid& grid = pair.grid;
  const Position origin = grid.to_frame(0, 0);
  const cpu::AlignFrame frame{float(1 / grid.pixels_x), float(origin.x),      float(1 / grid.pixels_y),
                              float(origin.y),          float(grid.pixels_x), float(grid.pixels_y)};
  Samples samples;
  Photometric curve;
  std::vector<cpu::AlignSums> partial(chunks_of(points));
  for (int step = 0; step < most_steps; ++step) {
    take_samples(points, pair.moving, grid.on_pixels(warp), pool, samples, true);
    if (!curve.fit(points.position, samples.value)) return warp;
    const std::array<float, 9> in_frame = as_floats(warp);
    pool.parallel_for(chunks_of(points), [&](int64_t chunk, int) {
      const int64_t begin = chunk * kChunk;
      kernels().sum(chunk_of(points, begin), {&samples.value[begin], &samples.dx[begin], &samples.dy[begin]},
                    curve.table(), in_frame.data(), frame, kTukey, unknowns, partial[chunk]);
    });
    cpu::AlignSums total{};
    for (const cpu::AlignSums& sum : partial) {
      for (int k = 0; k < unknowns * (unknowns + 1) / 2; ++k) total.a[k] += sum.a[k];
      for (int k = 0; k < unknowns; ++k) total.b[k] += sum.b[k];
    }
    double change[8];
    if (!solve(total, unknowns, change)) return warp;
    const Matrix difference = change_of(unknowns, change);
    Matrix next = warp;
    for (int i = 0; i < 9; ++i) next[i] += difference[i];
    const double moved = grid.distance(warp, next);
    // A wild step means that the pixels do not determine the model.
    if (!(moved < 0.25 * std::max(grid.columns, grid.rows))) return warp;
    warp = next;
    if (moved < tolerance) break;
  }
  return warp;
}

View look(const Pair& pair, const Matrix& warp, ThreadPool& pool) {
  const Matrix on_pixels = pair.grid.on_pixels(warp);
  Samples fitted, samples;
  View view;
  take_samples(pair.points.fit, pair.moving, on_pixels, pool, fitted, false);
  view.seen = view.curve.fit(pair.points.fit.position, fitted.value);
  take_samples(pair.points.held_out, pair.moving, on_pixels, pool, samples, false);
  view.value = std::move(samples.value);
  return view;
}

Verdict judge(const Points& held, const View& view) {
  if (held.size() == 0 || !view.seen) return {};
  Verdict verdict;
  double pp = 0, oo = 0, po = 0;
  int64_t seen = 0;
  for (int64_t begin = 0; begin < held.size();) {
    double n = 0, w = 0, p = 0, o = 0, bpp = 0, boo = 0, bpo = 0;
    int64_t i = begin;
    for (; i < held.size() && held.block[i] == held.block[begin]; ++i) {
      if (std::isnan(view.value[i])) continue;
      const auto [expected, inverse_sigma] = view.curve.predict(held.position[i]);
      const double weight = double(inverse_sigma) * inverse_sigma, e = expected, s = view.value[i];
      n += 1, w += weight, p += weight * e, o += weight * s;
      bpp += weight * e * e, boo += weight * s * s, bpo += weight * e * s;
    }
    begin = i;
    seen += int64_t(n);
    if (n < 4) continue;
    ++verdict.blocks;
    // Each block counts once, however much contrast it has.
    const double vp = bpp - p * p / w, vo = boo - o * o / w, cov = bpo - p * o / w;
    const double scale = 1 / std::max(vp + vo, 1e-9);
    pp += vp * scale, oo += vo * scale, po += cov * scale;
  }
  verdict.overlap = double(seen) / double(held.size());
  verdict.correlation = pp > 0 && oo > 0 ? po / std::sqrt(pp * oo) : 0;
  return verdict;
}

Comparison compare(const Points& held, const View& a, const View& b) {
  if (!a.seen || !b.seen) return {};
  Comparison result;
  struct Differences {
    double sum = 0, squares = 0, count = 0;
    void add(double difference) { sum += difference, squares += difference * difference, count += 1; }
    /// The mean over its standard error.
    double significance() const {
      const double variance = std::max(squares - sum * sum / count, 0.0) / (count - 1);
      return sum / std::sqrt(std::max(count * variance, 1e-12));
    }
  };
  Differences all, regions[9];
  const int64_t down = (held.blocks + held.across - 1) / std::max<int64_t>(held.across, 1);
  double total_a = 0, total_b = 0;
  int64_t seen = 0;
  for (int64_t begin = 0; begin < held.size();) {
    double block_a = 0, block_b = 0;
    int64_t n = 0, i = begin;
    for (; i < held.size() && held.block[i] == held.block[begin]; ++i) {
      if (std::isnan(a.value[i]) || std::isnan(b.value[i])) continue;
      const auto [expected, inverse_sigma] = b.curve.predict(held.position[i]);
      block_a += tukey_cost((a.value[i] - a.curve.predict(held.position[i]).value) * inverse_sigma);
      block_b += tukey_cost((b.value[i] - expected) * inverse_sigma);
      ++n;
    }
    begin = i;
    if (n == 0) continue;
    const int64_t row = held.block[i - 1] / held.across, column = held.block[i - 1] % held.across;
    all.add(block_a - block_b);
    regions[row * 3 / down * 3 + column * 3 / held.across].add(block_a - block_b);
    total_a += block_a, total_b += block_b, seen += n;
  }
  if (all.count < 2) return {};
  result.cost_a = total_a / double(seen), result.cost_b = total_b / double(seen);
  result.significance = all.significance();
  for (const Differences& region : regions)
    if (region.count >= 4) result.worst_region = std::min(result.worst_region, region.significance());
  return result;
}

}  // namespace smhdr::align
