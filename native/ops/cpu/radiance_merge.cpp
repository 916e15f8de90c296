// The merge (ops/reference/radiance_merge.cpp tells what it computes) as one pass over memory: rows stream through
// small rings of planar rows that stay in cache. Every loop that computes runs a fixed number of columns, so that each
// pixel meets the same instructions wherever a tile or strip begins; decoding and roots round alike in any grouping.
#include "ops/cpu/radiance_merge.h"

#include "ops/cpu/exposure_rows.h"
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
  MovedRoots<kWidth>* moved;
};

inline float magnitude(float x) { return x < 0 ? -x : x; }
inline float smoothstep(float from, float scale, float x) {
  const float t = at_most(at_least((x - from) * scale, 0.0f), 1.0f);
  return t * t * (3.0f - 2.0f * t);
}
SMHDR_INLINE Vec smoothstep(float from, float scale, Vec x) {
  const Vec t = min(max((x - from) * scale, splat(0)), splat(1));
  return t * t * (3.0f - 2.0f * t);
}

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

/// Cubic in the root of light, where edges are far less steep, within what the four nearest pixels say: no rings.
/// Outside of the exposure nothing is seen.
template <typename Decode>
void load_warped(const Tile& tile, const MergeModel::Exposure& e, const ExposureRows& rows, int64_t y,
                 MovedRoots<kWidth>& moved, Row* out, Decode decode) {
  float* seen = out[kSeen].at();
  if (rows.end <= rows.begin) {
    for (int plane = 0; plane < kSamplePlanes; ++plane)
      for (int x = 0; x < kWidth; ++x) out[plane].at()[x] = 0;
    return;
  }
  alignas(64) int32_t columns[kWidth];
  const int64_t first = tile.x0 - kMargin;
  for (int x = 0; x < kWidth; ++x) columns[x] = static_cast<int32_t>(clamp(first + x, 0, tile.model.width - 1));
  Places<kWidth> places;
  find_places<Beyond::unseen>(tile.model.width, tile.model.height, e.homography, columns, y, places, seen);
  places.weigh();
  float* const roots[3] = {out[0].at(), out[1].at(), out[2].at()};
  moved.at(tile.model.width, rows, places, seen, roots, decode);
  for (int c = 0; c < 3; ++c) {
    float* to = roots[c];
    const float scale = e.radiance_scale[c];
    for (int x = 0; x < kWidth; ++x) to[x] = to[x] * to[x] * scale * seen[x];
  }
}

template <typename Decode>
void load_row(const Tile& tile, int i, int64_t y, Decode decode) {
  const MergeModel::Exposure& e = tile.model.exposure[i];
  if (e.aligned)
    load_warped(tile, e, tile.rows[i], y, tile.moved[i], tile.sample[i][y % kRing], decode);
  else
    load_straight(tile, e, tile.rows[i], y, tile.sample[i][y % kRing], decode);
}

void load_rows(const Tile& tile, int64_t y) {
  const MergeModel& m = tile.model;
  for (int i = 0; i < m.exposures; ++i)
    with_decode(m.depth, m.exposure[i].table, m.table_size, [&](auto decode) { load_row(tile, i, y, decode); });
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
  return model.exposures * kSampleBytes + merge_pairs(model).count * kEvidenceBytes +
         model.exposures * static_cast<int64_t>(sizeof(MovedRoots<kWidth>));
}

void radiance_merge(const MergeModel& m, const ExposureRows* rows, int64_t x0, int64_t y0, int64_t y1, float* out,
                    int64_t out_stride, void* scratch) {
  const MergePairs pairs = merge_pairs(m);
  char* const samples = static_cast<char*>(scratch);
  char* const evidence = samples + m.exposures * kSampleBytes;
  char* const moved = evidence + pairs.count * kEvidenceBytes;
  const Tile tile{m,
                  rows,
                  x0,
                  reinterpret_cast<Row(*)[kRing][kSamplePlanes]>(samples),
                  reinterpret_cast<Row(*)[kRing][kEvidencePlanes]>(evidence),
                  reinterpret_cast<MovedRoots<kWidth>*>(moved)};
  // The padding is read next to the outermost columns, never used.
  for (int64_t i = 0, floats = (moved - samples) / 4; i < floats; ++i) static_cast<float*>(scratch)[i] = 0;
  for (int i = 0; i < m.exposures; ++i) tile.moved[i].begin();
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
