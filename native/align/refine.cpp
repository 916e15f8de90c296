#include "align/refine.h"

#include <algorithm>
#include <limits>

#include "align/photometric.h"

namespace smhdr::align {
namespace {

constexpr int64_t kCell = 8;              // points are spread by taking the best of each 8x8 cell
constexpr float kLeastGradient = 0.004f;  // natural-log units per pixel
constexpr int64_t kChunk = 4096;          // points summed together: fixed, so that results do not depend on threads
constexpr float kTukey = 4.685f;          // 95 % efficiency for normal noise
constexpr float kUnseen = std::numeric_limits<float>::quiet_NaN();

void for_chunks(int64_t points, ThreadPool& pool, const auto& body) {
  pool.parallel_for((points + kChunk - 1) / kChunk,
                    [&](int64_t chunk, int) { body(chunk, chunk * kChunk, std::min(points, (chunk + 1) * kChunk)); });
}

struct Samples {
  std::vector<float> value, dx, dy;
};

void take_samples(const Points& points, const Level& moving, const Matrix& on_pixels, ThreadPool& pool, Samples& out) {
  out.value.resize(points.size()), out.dx.resize(points.size()), out.dy.resize(points.size());
  for_chunks(points.size(), pool, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Position p = apply(on_pixels, points.x[i], points.y[i]);
      Sample s;
      const bool seen = sample(moving, float(p.x), float(p.y), s);
      out.value[i] = seen ? s.value : kUnseen;
      out.dx[i] = seen ? s.dx : 0, out.dy[i] = seen ? s.dy : 0;
    }
  });
}

/// Tukey's biweight cost, scaled to [0, 1], of a residual in units of its spread.
float tukey_cost(float z) {
  const float q = 1.0f - std::min(1.0f, z * z / (kTukey * kTukey));
  return 1.0f - q * q * q;
}

/// The normal equations of all eight parameters of a homography: upper triangle, then the right-hand side.
struct Normal {
  double a[36] = {}, b[8] = {};
  void add(const Normal& other) {
    for (int i = 0; i < 36; ++i) a[i] += other.a[i];
    for (int i = 0; i < 8; ++i) b[i] += other.b[i];
  }
};

/// Directions in the space of the eight parameters that a model may move in.
struct Basis {
  int size;
  double columns[8][8];
};
Basis basis_of(AlignModel model) {
  Basis basis{};
  const auto add = [&](int i, double vi, int j = 0, double vj = 0) {
    basis.columns[basis.size][j] += vj;
    basis.columns[basis.size++][i] += vi;
  };
  if (model == AlignModel::homography) {
    for (int i = 0; i < 8; ++i) add(i, 1);
  } else if (model != AlignModel::identity) {
    add(2, 1), add(5, 1);
    if (model == AlignModel::similarity) add(0, 1, 4, 1), add(3, 1, 1, -1);
  }
  return basis;
}

/// Solves the normal equations inside the model by Cholesky; false where they are singular.
bool solve(const Normal& normal, const Basis& basis, double* step) {
  double full[8][8];
  for (int i = 0, k = 0; i < 8; ++i)
    for (int j = i; j < 8; ++j, ++k) full[i][j] = full[j][i] = normal.a[k];
  const int n = basis.size;
  double a[8][8] = {}, y[8] = {};
  for (int r = 0; r < n; ++r) {
    for (int i = 0; i < 8; ++i) y[r] += basis.columns[r][i] * normal.b[i];
    for (int c = 0; c < n; ++c)
      for (int i = 0; i < 8; ++i)
        for (int j = 0; j < 8; ++j) a[r][c] += basis.columns[r][i] * full[i][j] * basis.columns[c][j];
  }
  double largest = 0;
  for (int r = 0; r < n; ++r) largest = std::max(largest, a[r][r]);
  for (int c = 0; c < n; ++c) {
    double d = a[c][c] * (1 + 1e-9);
    for (int k = 0; k < c; ++k) d -= a[c][k] * a[c][k];
    if (!(d > 1e-9 * largest)) return false;
    a[c][c] = std::sqrt(d);
    for (int r = c + 1; r < n; ++r) {
      double s = a[r][c];
      for (int k = 0; k < c; ++k) s -= a[r][k] * a[c][k];
      a[r][c] = s / a[c][c];
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
  for (int i = 0; i < 8; ++i) {
    step[i] = 0;
    for (int r = 0; r < n; ++r) step[i] += basis.columns[r][i] * y[r];
  }
  return true;
}

}  // namespace

Selection select_points(const Level& reference, int64_t most_points) {
  const int64_t width = reference.width, height = reference.height;
  const int64_t cells = ((width + kCell - 1) / kCell) * ((height + kCell - 1) / kCell);
  const size_t per_cell = size_t(std::clamp<int64_t>(most_points / std::max<int64_t>(cells, 1), 2, 32));
  const int64_t block = std::clamp<int64_t>(reference.longer_side() / 24 / kCell * kCell, kCell, 4 * kCell);
  const int64_t across = (width + block - 1) / block;

  Selection selection;
  struct Candidate {
    float strength;
    int32_t x, y;
  };
  std::vector<Candidate> cell;
  for (int64_t by = 0; by * block < height; ++by)
    for (int64_t bx = 0; bx < across; ++bx) {
      // Every fourth block along a row, shifted by two from row to row.
      Points& points = (bx + 2 * by) % 4 == 0 ? selection.held_out : selection.fit;
      const int64_t bottom = std::min((by + 1) * block, height), right = std::min((bx + 1) * block, width);
      for (int64_t y0 = by * block; y0 < bottom; y0 += kCell)
        for (int64_t x0 = bx * block; x0 < right; x0 += kCell) {
          cell.clear();
          for (int64_t y = std::max<int64_t>(y0, 1); y < std::min({y0 + kCell, bottom, height - 1}); ++y)
            for (int64_t x = std::max<int64_t>(x0, 1); x < std::min({x0 + kCell, right, width - 1}); ++x) {
              const int64_t i = y * width + x;
              if (!reference.valid[i]) continue;
              const float dx = 0.5f * (reference.value[i + 1] - reference.value[i - 1]);
              const float dy = 0.5f * (reference.value[i + width] - reference.value[i - width]);
              const float strength = dx * dx + dy * dy;
              if (strength > kLeastGradient * kLeastGradient) cell.push_back({strength, int32_t(x), int32_t(y)});
            }
          const auto better = [](const Candidate& a, const Candidate& b) {
            return a.strength != b.strength ? a.strength > b.strength : a.y != b.y ? a.y < b.y : a.x < b.x;
          };
          const size_t kept = std::min(per_cell, cell.size());
          std::partial_sort(cell.begin(), cell.begin() + kept, cell.end(), better);
          for (size_t k = 0; k < kept; ++k) {
            points.x.push_back(float(cell[k].x));
            points.y.push_back(float(cell[k].y));
            points.value.push_back(reference.value[cell[k].y * width + cell[k].x]);
            points.block.push_back(int32_t(by * across + bx));
          }
        }
    }
  selection.fit.across = selection.held_out.across = across;
  selection.fit.blocks = selection.held_out.blocks = across * ((height + block - 1) / block);
  return selection;
}

Matrix refine(const Pair& pair, Matrix warp, AlignModel model, int most_steps, ThreadPool& pool) {
  const Points& points = pair.points.fit;
  const Basis basis = basis_of(model);
  Samples samples;
  Photometric curve;
  std::vector<Normal> partial((points.size() + kChunk - 1) / kChunk);
  for (int step = 0; step < most_steps; ++step) {
    take_samples(points, pair.moving, pair.grid.on_pixels(warp), pool, samples);
    if (!curve.fit(points.value, samples.value)) return warp;
    for_chunks(points.size(), pool, [&](int64_t chunk, int64_t begin, int64_t end) {
      Normal sum;
      for (int64_t i = begin; i < end; ++i) {
        if (std::isnan(samples.value[i])) continue;
        const auto [expected, inverse_sigma] = curve.predict(points.value[i]);
        const float z = (samples.value[i] - expected) * inverse_sigma;
        const float q = 1.0f - z * z / (kTukey * kTukey);
        if (q <= 0) continue;
        // Position in the frame, and the derivative of the warped position by the eight parameters.
        const Position f = pair.grid.to_frame(points.x[i], points.y[i]);
        const double d = 1 / (warp[6] * f.x + warp[7] * f.y + 1);
        const double u = (warp[0] * f.x + warp[1] * f.y + warp[2]) * d,
                     v = (warp[3] * f.x + warp[4] * f.y + warp[5]) * d;
        const double gx = samples.dx[i] * pair.grid.pixels_x * inverse_sigma * d;
        const double gy = samples.dy[i] * pair.grid.pixels_y * inverse_sigma * d;
        const double g = -(gx * u + gy * v);
        const double j[8] = {gx * f.x, gx * f.y, gx, gy * f.x, gy * f.y, gy, g * f.x, g * f.y};
        const double weight = double(q) * q;
        for (int r = 0, k = 0; r < 8; ++r) {
          const double wr = weight * j[r];
          for (int c = r; c < 8; ++c) sum.a[k++] += wr * j[c];
          sum.b[r] -= wr * z;
        }
      }
      partial[chunk] = sum;
    });
    Normal total;
    for (const Normal& sum : partial) total.add(sum);
    double change[8];
    if (!solve(total, basis, change)) return warp;
    Matrix next = warp;
    for (int i = 0; i < 8; ++i) next[i] += change[i];
    const double moved = pair.grid.distance(warp, next);
    // A wild step means that the pixels do not determine the model.
    if (!(moved < 0.25 * std::max(pair.grid.columns, pair.grid.rows))) return warp;
    warp = next;
    if (moved < 0.003) break;
  }
  return warp;
}

Verdict judge(const Pair& pair, const Matrix& warp, ThreadPool& pool) {
  const Points& held = pair.points.held_out;
  Samples fitted, samples;
  Photometric curve;
  const Matrix on_pixels = pair.grid.on_pixels(warp);
  take_samples(pair.points.fit, pair.moving, on_pixels, pool, fitted);
  if (held.size() == 0 || !curve.fit(pair.points.fit.value, fitted.value)) return {};
  take_samples(held, pair.moving, on_pixels, pool, samples);

  Verdict verdict;
  double pp = 0, oo = 0, po = 0;
  int64_t seen = 0;
  for (int64_t begin = 0; begin < held.size();) {
    double n = 0, w = 0, p = 0, o = 0, bpp = 0, boo = 0, bpo = 0;
    int64_t i = begin;
    for (; i < held.size() && held.block[i] == held.block[begin]; ++i) {
      if (std::isnan(samples.value[i])) continue;
      const auto [expected, inverse_sigma] = curve.predict(held.value[i]);
      const double weight = double(inverse_sigma) * inverse_sigma, e = expected, s = samples.value[i];
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

Comparison compare(const Pair& pair, const Matrix& a, const Matrix& b, ThreadPool& pool) {
  const Points& held = pair.points.held_out;
  Samples fitted, samples_a, samples_b;
  Photometric curve_a, curve_b;
  take_samples(pair.points.fit, pair.moving, pair.grid.on_pixels(a), pool, fitted);
  const bool seen_a = curve_a.fit(pair.points.fit.value, fitted.value);
  take_samples(pair.points.fit, pair.moving, pair.grid.on_pixels(b), pool, fitted);
  if (!seen_a || !curve_b.fit(pair.points.fit.value, fitted.value)) return {};
  take_samples(held, pair.moving, pair.grid.on_pixels(a), pool, samples_a);
  take_samples(held, pair.moving, pair.grid.on_pixels(b), pool, samples_b);

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
      if (std::isnan(samples_a.value[i]) || std::isnan(samples_b.value[i])) continue;
      const auto [expected, inverse_sigma] = curve_b.predict(held.value[i]);
      block_a += tukey_cost((samples_a.value[i] - curve_a.predict(held.value[i]).value) * inverse_sigma);
      block_b += tukey_cost((samples_b.value[i] - expected) * inverse_sigma);
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
