// The merge (ops/reference/radiance_merge.cpp tells what it computes) as one pass over memory: rows stream through
// small rings of planar rows that stay in cache. Every loop that computes runs a fixed number of columns, so that each
// pixel meets the same instructions wherever a tile or strip begins; decoding and roots round alike in any grouping.
#include "ops/cpu/radiance_merge.h"

#include "ops/cpu/vector.h"

namespace smhdr::cpu::SMHDR_ISA {
namespace {

constexpr int kMargin = 8;                           // columns computed on each side of the tile, >= kMergeHalo
constexpr int kWidth = kMergeColumns + 2 * kMargin;  // columns computed
constexpr int kStride = kWidth + 32;                 // of a row, with room to read past its ends
constexpr int kRing = 8;                             // rows kept, >= 2 kRegionRadius + 2
static_assert(kMargin >= kMergeHalo && kRing >= 2 * kRegionRadius + 2 && kWidth % 16 == 0);

struct alignas(64) Row {
  float cell[kStride];
  float* at() { return cell + 16; }
  const float* at() const { return cell + 16; }
};

enum { kRed, kGreen, kBlue, kSeen, kSamplePlanes };                           // of an exposure
enum { kDeviation, kEnergy = kDeviation + 3, kSystematic, kEvidencePlanes };  // of a pair

struct Tile {
  const MergeModel& model;
  const ExposureRows* rows;
  int64_t x0;  // image column of column kMargin
  Row (*sample)[kRing][kSamplePlanes];
  Row (*evidence)[kRing][kEvidencePlanes];
};

inline float at_most(float x, float limit) { return x < limit ? x : limit; }
inline float at_least(float x, float limit) { return x > limit ? x : limit; }
inline float magnitude(float x) { return x < 0 ? -x : x; }
inline float smoothstep(float from, float scale, float x) {
  const float t = at_most(at_least((x - from) * scale, 0.0f), 1.0f);
  return t * t * (3.0f - 2.0f * t);
}
SMHDR_INLINE Vec smoothstep(float from, float scale, Vec x) {
  const Vec t = min(max((x - from) * scale, splat(0)), splat(1));
  return t * t * (3.0f - 2.0f * t);
}
inline int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/// Linear light of stored samples.
struct FromCode8 {
  const float* table;
  float operator()(const void* data, int64_t at) const { return table[static_cast<const uint8_t*>(data)[at]]; }
};
struct FromCode16 {
  const float* table;
  float operator()(const void* data, int64_t at) const { return table[static_cast<const uint16_t*>(data)[at]]; }
};
struct FromLinear {
  float operator()(const void* data, int64_t at) const {
    return at_most(at_least(static_cast<const float*>(data)[at], 0.0f), 1.0f);  // NaN becomes 0
  }
};
struct FromCurve {
  const float* table;
  int64_t size;
  float operator()(const void* data, int64_t at) const {
    const float position = FromLinear{}(data, at) * (size - 1);
    const int64_t code = static_cast<int64_t>(position), below = code < size - 2 ? code : size - 2;
    return table[below] + (position - below) * (table[below + 1] - table[below]);
  }
};

template <typename Decode>
void load_straight(const Tile& tile, const MergeModel::Exposure& e, const ExposureRows& rows, int64_t y, Row* out,
                   Decode decode) {
  const int64_t width = tile.model.width, line = (y - rows.begin) * width;
  const int64_t first = tile.x0 - kMargin;
  const int low = static_cast<int>(clamp(-first, 0, kWidth)), high = static_cast<int>(clamp(width - first, 0, kWidth));
  for (int c = 0; c < 3; ++c) {
    float* to = out[c].at();
    const float scale = e.radiance_scale[c];
    const int64_t from = (line + first) * 3 + c;
    for (int x = low; x < high; ++x) to[x] = decode(rows.data, from + 3 * int64_t{x}) * scale;
    for (int x = 0; x < low; ++x) to[x] = to[low];
    for (int x = high; x < kWidth; ++x) to[x] = to[high - 1];
  }
  for (int x = 0; x < kWidth; ++x) out[kSeen].at()[x] = 1.0f;
}

/// Where the columns of an image row lie in a moved exposure: the pixel above and left of each, and how far beyond it.
struct Places {
  alignas(64) int32_t left[kWidth], top[kWidth];
  alignas(64) float across[kWidth], along[kWidth];
};

void find_places(const Tile& tile, const MergeModel::Exposure& e, int64_t y, Places& places, float* seen) {
  const int64_t width = tile.model.width, height = tile.model.height;
  const double* h = e.homography;
  const double line = static_cast<double>(y), last_x = static_cast<double>(width - 1);
  const double last_y = static_cast<double>(height - 1);
  const double x_row = h[1] * line + h[2], y_row = h[4] * line + h[5], w_row = h[7] * line + h[8];
  const int32_t first = static_cast<int32_t>(tile.x0 - kMargin), last = static_cast<int32_t>(width - 1);
  for (int column = 0; column < kWidth; ++column) {
    const int32_t at = first + column, inside = at < 0 ? 0 : at < last ? at : last;
    const double x = inside;
    const double w = h[6] * x + w_row, reciprocal = 1.0 / w;
    const double sx = (h[0] * x + x_row) * reciprocal, sy = (h[3] * x + y_row) * reciprocal;
    const bool in = (w > 0) & (sx >= 0) & (sy >= 0) & (sx <= last_x) & (sy <= last_y);
    const double px = in ? sx : 0, py = in ? sy : 0;
    const int32_t from = static_cast<int32_t>(px), above = static_cast<int32_t>(py);
    places.left[column] = from;
    places.top[column] = above;
    places.across[column] = static_cast<float>(px - from);
    places.along[column] = static_cast<float>(py - above);
    seen[column] = in ? 1.0f : 0.0f;
  }
}

constexpr int kTaps = 4;

/// Roots of the light in the 4x4 pixels around each place; 0 where nothing is seen. Along a run of columns that follow
/// each other in the exposure too, every pixel is decoded once for each of the rows that need it.
struct Taps {
  alignas(64) float cell[3][kTaps][kTaps][kWidth];
};

template <typename Decode>
void fetch(const Tile& tile, const ExposureRows& rows, const Places& places, const float* seen, Taps& taps,
           Decode decode) {
  const int64_t width = tile.model.width;
  alignas(64) float root[3][kWidth + kTaps];
  for (int begin = 0, end = 0; begin < kWidth; begin = end) {
    const int32_t left = places.left[begin], top = places.top[begin];
    const bool in = seen[begin] != 0;
    for (end = begin + 1; end < kWidth; ++end)
      if ((seen[end] != 0) != in || (in && (places.left[end] != left + end - begin || places.top[end] != top))) break;
    const int count = end - begin, fetched = count + kTaps - 1;
    for (int j = 0; j < kTaps; ++j) {
      if (in) {
        const int64_t line = (clamp(top - 1 + j, rows.begin, rows.end - 1) - rows.begin) * width;
        for (int k = 0; k < fetched; ++k) {
          const int64_t at = (line + clamp(left - 1 + k, 0, width - 1)) * 3;
          for (int c = 0; c < 3; ++c) root[c][k] = decode(rows.data, at + c);
        }
      }
      for (int c = 0; c < 3; ++c) {
        for (int k = 0; k < fetched; ++k) root[c][k] = in ? __builtin_sqrtf(root[c][k]) : 0.0f;
        for (int i = 0; i < kTaps; ++i)
          for (int k = 0; k < count; ++k) taps.cell[c][j][i][begin + k] = root[c][k + i];
      }
    }
  }
}

/// Catmull and Rom's cubic: what the four pixels around a place count, `f` beyond the second of them.
SMHDR_INLINE void cubic_weights(const float* f, float (&weight)[kTaps][kWidth]) {
  for (int x = 0; x < kWidth; ++x) {
    const float t = f[x];
    weight[0][x] = t * (-0.5f + t * (1.0f - 0.5f * t));
    weight[1][x] = 1.0f + t * t * (1.5f * t - 2.5f);
    weight[2][x] = t * (0.5f + t * (2.0f - 1.5f * t));
    weight[3][x] = t * t * (0.5f * t - 0.5f);
  }
}

/// Cubic in the root of light, where edges are far less steep, within what the four nearest pixels say: no rings.
/// Outside of the exposure nothing is seen.
template <typename Decode>
void load_warped(const Tile& tile, const MergeModel::Exposure& e, const ExposureRows& rows, int64_t y, Row* out,
                 Decode decode) {
  float* seen = out[kSeen].at();
  if (rows.end <= rows.begin) {
    for (int plane = 0; plane < kSamplePlanes; ++plane)
      for (int x = 0; x < kWidth; ++x) out[plane].at()[x] = 0;
    return;
  }
  Places places;
  Taps taps;
  find_places(tile, e, y, places, seen);
  fetch(tile, rows, places, seen, taps, decode);
  alignas(64) float across[kTaps][kWidth], along[kTaps][kWidth];
  cubic_weights(places.across, across);
  cubic_weights(places.along, along);
  for (int c = 0; c < 3; ++c) {
    const auto& tap = taps.cell[c];
    float* __restrict to = out[c].at();
    const float scale = e.radiance_scale[c];
    for (int x = 0; x < kWidth; ++x) {
      float root = 0;
      for (int j = 0; j < kTaps; ++j) {
        float sum = across[0][x] * tap[j][0][x];
        for (int i = 1; i < kTaps; ++i) sum += across[i][x] * tap[j][i][x];
        root += along[j][x] * sum;
      }
      const float low = at_most(at_most(tap[1][1][x], tap[1][2][x]), at_most(tap[2][1][x], tap[2][2][x]));
      const float high = at_least(at_least(tap[1][1][x], tap[1][2][x]), at_least(tap[2][1][x], tap[2][2][x]));
      root = at_most(at_least(root, low), high);
      to[x] = root * root * scale * seen[x];
    }
  }
}

template <typename Decode>
void load_row(const Tile& tile, int i, int64_t y, Decode decode) {
  const MergeModel::Exposure& e = tile.model.exposure[i];
  if (e.aligned)
    load_warped(tile, e, tile.rows[i], y, tile.sample[i][y % kRing], decode);
  else
    load_straight(tile, e, tile.rows[i], y, tile.sample[i][y % kRing], decode);
}

void load_rows(const Tile& tile, int64_t y) {
  const MergeModel& m = tile.model;
  for (int i = 0; i < m.exposures; ++i) {
    const float* table = m.exposure[i].table;
    switch (m.depth) {
      case PixelDepth::uint8:
        load_row(tile, i, y, FromCode8{table});
        break;
      case PixelDepth::uint16:
        load_row(tile, i, y, FromCode16{table});
        break;
      case PixelDepth::float32:
        if (table)
          load_row(tile, i, y, FromCurve{table, m.table_size});
        else
          load_row(tile, i, y, FromLinear{});
    }
  }
}

/// How far exposure i deviates from its anchor j in row y, per pixel.
void compare(const Tile& tile, int pair, int i, int j, int64_t y) {
  const MergeModel& m = tile.model;
  const MergeTuning& t = m.tuning;
  const MergeModel::Exposure &ei = m.exposure[i], &ej = m.exposure[j];
  const Row* sa = tile.sample[i][y % kRing];
  const Row* sb = tile.sample[j][y % kRing];
  const Row* above = tile.sample[j][clamp(y - 1, 0, m.height - 1) % kRing];
  const Row* below = tile.sample[j][clamp(y + 1, 0, m.height - 1) % kRing];
  Row* out = tile.evidence[pair][y % kRing];

  const float floor = ei.noise_floor + ej.noise_floor, slope = ei.noise_slope + ej.noise_slope;
  const float black = ei.black_step + ej.black_step, black2 = black * black;
  const float relative2 = t.relative_tolerance * t.relative_tolerance;
  const float clipped2 = t.clip_tolerance * t.clip_tolerance;
  const float edge2 = 0.25f * t.edge_tolerance * t.edge_tolerance;
  const float clip = t.clip_start, clip_scale = 1.0f / (t.clip_end - t.clip_start), limit = t.deviation_limit;
  const Vec zero = splat(0);
  float* __restrict energy = out[kEnergy].at();
  float* __restrict systematic = out[kSystematic].at();
  const float* seen_a = sa[kSeen].at();
  const float* seen_b = sb[kSeen].at();
  for (int c = 0; c < 3; ++c) {
    const float *ra = sa[c].at(), *rb = sb[c].at(), *up = above[c].at(), *down = below[c].at();
    float* __restrict deviation = out[kDeviation + c].at();
    const float to_light_a = 1.0f / ei.radiance_scale[c], to_light_b = 1.0f / ej.radiance_scale[c];
    for (int x = 0; x < kWidth; x += kLanes) {
      const Vec a = load(ra + x), b = load(rb + x);
      const Vec clipped_a = smoothstep(clip, clip_scale, a * to_light_a);
      const Vec clipped_b = smoothstep(clip, clip_scale, b * to_light_b);
      const Vec above_b = max(a - b, zero), below_b = min(a - b, zero);
      const Vec both = load(seen_a + x) * load(seen_b + x);
      const Vec difference = (above_b * (1.0f - clipped_b) + below_b * (1.0f - clipped_a)) * both;
      const Vec mean = 0.5f * (a + b);
      const Vec across = load(rb + x + 1) - load(rb + x - 1);
      const Vec along = load(down + x) - load(up + x);
      const Vec edge = max(max(across, -across), max(along, -along));
      const Vec relative = relative2 + clipped2 * (clipped_a + clipped_b);
      const Vec bias = relative * mean * mean + edge2 * edge * edge + black2;
      const Vec inverse = reciprocal_root(floor + slope * mean + bias);
      const Vec d = max(min(difference * inverse, splat(limit)), splat(-limit));
      const Vec e = d * d * (1.0f / 3), s = bias * inverse * inverse * (1.0f / 3);
      store(deviation + x, d);
      store(energy + x, c == 0 ? e : load(energy + x) + e);
      store(systematic + x, c == 0 ? s : load(systematic + x) + s);
    }
  }
  // Beyond the image the border's evidence is repeated.
  const int first = static_cast<int>(clamp(kMargin - tile.x0, 0, kWidth - 1));
  const int last = static_cast<int>(clamp(m.width - 1 - tile.x0 + kMargin, 0, kWidth - 1));
  for (int plane = 0; plane < kEvidencePlanes; ++plane) {
    float* row = out[plane].at();
    for (int x = 0; x < first; ++x) row[x] = row[first];
    for (int x = last + 1; x < kWidth; ++x) row[x] = row[last];
  }
}

/// Sums over the rows y - radius .. y + radius.
template <int radius>
void column_sums(const Tile& tile, int pair, int plane, int64_t y, float* __restrict out) {
  const float* row[2 * radius + 1];
  for (int k = -radius; k <= radius; ++k)
    row[k + radius] = tile.evidence[pair][clamp(y + k, 0, tile.model.height - 1) % kRing][plane].at();
  for (int x = 0; x < kWidth; ++x) {
    float sum = row[0][x];
    for (int k = 1; k <= 2 * radius; ++k) sum += row[k][x];
    out[x] = sum;
  }
}

template <int radius>
inline float across(const float* row, int x) {
  float sum = row[x - radius];
  for (int k = 1 - radius; k <= radius; ++k) sum += row[x + k];
  return sum;
}

/// How far each pair agrees at row y, in [0, 1].
void judge(const Tile& tile, int pair, int64_t y, float* __restrict agreement) {
  const MergeTuning& t = tile.model.tuning;
  alignas(64) float red[kWidth], green[kWidth], blue[kWidth], energy[kWidth], systematic[kWidth];
  column_sums<kRegionRadius>(tile, pair, kDeviation, y, red);
  column_sums<kRegionRadius>(tile, pair, kDeviation + 1, y, green);
  column_sums<kRegionRadius>(tile, pair, kDeviation + 2, y, blue);
  column_sums<kRegionRadius>(tile, pair, kSystematic, y, systematic);
  column_sums<kDetailRadius>(tile, pair, kEnergy, y, energy);
  constexpr float region = 1.0f / ((2 * kRegionRadius + 1) * (2 * kRegionRadius + 1));
  constexpr float detail = 1.0f / ((2 * kDetailRadius + 1) * (2 * kDetailRadius + 1));
  const float independent = 1.0f / t.independent_pixels;
  const float region_scale = 1.0f / t.region_threshold, detail_scale = detail / t.detail_threshold;
  const float doubt = 1.0f / (t.rejection - 1.0f);
  for (int x = kMargin; x < kMargin + kMergeColumns; ++x) {
    const float r = across<kRegionRadius>(red, x) * region, g = across<kRegionRadius>(green, x) * region;
    const float b = across<kRegionRadius>(blue, x) * region, s = across<kRegionRadius>(systematic, x) * region;
    const float worst = at_least(at_least(r * r, g * g), b * b);
    const float by_region = worst / ((1.0f - s) * independent + s) * region_scale;
    const float by_detail = across<kDetailRadius>(energy, x) * detail_scale;
    agreement[x] = 1.0f - smoothstep(1.0f, doubt, at_least(by_region, by_detail));
  }
}

/// Weighs and adds up row y; writes its pixels.
void emit(const Tile& tile, const MergePairs& pairs, int64_t y, float* out) {
  const MergeModel& m = tile.model;
  const MergeTuning& t = m.tuning;
  const float clip_scale = 1.0f / (t.clip_end - t.clip_start);
  constexpr int begin = kMargin, end = kMargin + kMergeColumns;
  alignas(64) float trust[kMaxExposures][kWidth], usable[kMaxExposures][kWidth];
  alignas(64) float agreement[kWidth], mean[kWidth], total[kWidth], last[3][kWidth], weights[kWidth], sum[3][kWidth];

  const auto settle = [&](int i, int neighbour) {
    const float* seen = tile.sample[i][y % kRing][kSeen].at();
    float* own = trust[i];
    judge(tile, pairs.with_reference[i], y, agreement);
    for (int x = begin; x < end; ++x) own[x] = seen[x] * agreement[x];
    if (pairs.with_neighbour[i] < 0) return;
    const float* theirs = trust[neighbour];
    judge(tile, pairs.with_neighbour[i], y, agreement);
    for (int x = begin; x < end; ++x) own[x] *= 1.0f - theirs[x] * (1.0f - agreement[x]);
  };
  for (int x = begin; x < end; ++x) trust[m.reference][x] = 1.0f;
  for (int i = m.reference - 1; i >= 0; --i) settle(i, i + 1);
  for (int i = m.reference + 1; i < m.exposures; ++i) settle(i, i - 1);

  for (int x = begin; x < end; ++x) mean[x] = total[x] = last[0][x] = last[1][x] = last[2][x] = 0;
  for (int i = m.exposures - 1; i >= 0; --i) {
    const MergeModel::Exposure& e = m.exposure[i];
    const Row* s = tile.sample[i][y % kRing];
    const float *r = s[kRed].at(), *g = s[kGreen].at(), *b = s[kBlue].at(), *own = trust[i];
    float* use = usable[i];
    const float scale_r = 1 / e.radiance_scale[0], scale_g = 1 / e.radiance_scale[1], scale_b = 1 / e.radiance_scale[2];
    const float precision = 1 / e.noise_floor, fallback = i <= m.reference ? 1.0f : 0.0f;
    for (int x = begin; x < end; ++x) {
      const float light_r = r[x] * scale_r, light_g = g[x] * scale_g, light_b = b[x] * scale_b;
      const float lightest = at_least(at_least(light_r, light_g), light_b);
      const float darkest = at_most(at_most(light_r, light_g), light_b);
      use[x] = own[x] * (1.0f - smoothstep(t.clip_start, clip_scale, lightest));
      mean[x] += use[x] * precision * at_most(at_most(r[x], g[x]), b[x]);
      total[x] += use[x] * precision;
      const float neutral = smoothstep(t.clip_start, clip_scale, darkest);
      const float brightest = at_least(at_least(r[x], g[x]), b[x]);
      const float share = own[x] * fallback;
      last[0][x] += share * (r[x] + neutral * (brightest - r[x]) - last[0][x]);
      last[1][x] += share * (g[x] + neutral * (brightest - g[x]) - last[1][x]);
      last[2][x] += share * (b[x] + neutral * (brightest - b[x]) - last[2][x]);
    }
  }
  const float floor0 = m.exposure[0].noise_floor, slope0 = m.exposure[0].noise_slope;
  for (int x = begin; x < end; ++x) {
    mean[x] = total[x] > 0 ? mean[x] / total[x] : 1.0f;
    const float least = 1e-4f / (floor0 + slope0 * mean[x]);
    weights[x] = least;
    for (int c = 0; c < 3; ++c) sum[c][x] = least * last[c][x];
  }
  for (int i = 0; i < m.exposures; ++i) {
    const float floor = m.exposure[i].noise_floor, slope = m.exposure[i].noise_slope;
    const Row* s = tile.sample[i][y % kRing];
    const float *r = s[kRed].at(), *g = s[kGreen].at(), *b = s[kBlue].at(), *use = usable[i];
    for (int x = begin; x < end; ++x) {
      const float weight = use[x] / (floor + slope * mean[x]);
      weights[x] += weight;
      sum[0][x] += weight * r[x];
      sum[1][x] += weight * g[x];
      sum[2][x] += weight * b[x];
    }
  }
  for (int x = begin; x < end; ++x) {
    const float reciprocal = 1.0f / weights[x];
    for (int c = 0; c < 3; ++c) sum[c][x] = at_most(at_least(sum[c][x] * reciprocal, 0.0f), 1.0f);
  }
  const int columns = static_cast<int>(clamp(m.width - tile.x0, 0, kMergeColumns));
  for (int x = 0; x < columns; ++x)
    for (int c = 0; c < 3; ++c) out[3 * x + c] = sum[c][kMargin + x];
}

constexpr int64_t kSampleBytes = sizeof(Row) * kRing * kSamplePlanes;
constexpr int64_t kEvidenceBytes = sizeof(Row) * kRing * kEvidencePlanes;

}  // namespace

int64_t radiance_merge_scratch(const MergeModel& model) {
  return model.exposures * kSampleBytes + merge_pairs(model).count * kEvidenceBytes;
}

void radiance_merge(const MergeModel& m, const ExposureRows* rows, int64_t x0, int64_t y0, int64_t y1, float* out,
                    int64_t out_stride, void* scratch) {
  const MergePairs pairs = merge_pairs(m);
  Tile tile{m, rows, x0, static_cast<Row(*)[kRing][kSamplePlanes]>(scratch),
            reinterpret_cast<Row(*)[kRing][kEvidencePlanes]>(static_cast<char*>(scratch) + m.exposures * kSampleBytes)};
  // The padding is read next to the outermost columns, never used: it only has to be numbers.
  for (int64_t i = 0, floats = radiance_merge_scratch(m) / 4; i < floats; ++i) static_cast<float*>(scratch)[i] = 0;
  const int64_t bottom = m.height - 1;
  int64_t loaded = clamp(y0 - kMergeHalo, 0, bottom), compared = clamp(y0 - kRegionRadius, 0, bottom);
  // The rows before y0 fill the rings: a row is compared once the one below it is there.
  for (int64_t y = y0 - 2 * kMergeHalo; y < y1; ++y) {
    for (; loaded <= (y + kMergeHalo < bottom ? y + kMergeHalo : bottom); ++loaded) load_rows(tile, loaded);
    for (; compared <= (y + kRegionRadius < bottom ? y + kRegionRadius : bottom); ++compared)
      for (int p = 0; p < pairs.count; ++p) compare(tile, p, pairs.exposure[p], pairs.anchor[p], compared);
    if (y >= y0) emit(tile, pairs, y, out + (y - y0) * out_stride);
  }
}

}  // namespace smhdr::cpu::SMHDR_ISA
