// The merge; ops/reference/radiance_merge.cpp tells what it computes. A block stages its tile and the halo around it of
// every exposure in shared memory, as radiance: a stored sample comes from memory about once (neighbours' halos lie in
// caches), a result is written once. Pairs are judged one after another in the same room: evidence, its sums along
// rows, and down the columns by the thread whose pixel it is. The tile is the largest of which two fit a
// multiprocessor, so that one computes while the other waits. Every pixel's sums have one order: neither tiles nor
// strips show.
#include <algorithm>
#include <cfloat>
#include <vector>

#include "merge/merge_device.h"
#include "ops/cuda/memory.h"
#include "ops/cuda_ops.h"

namespace smhdr::cuda::SMHDR_CUDA_TARGET {

namespace {

struct MergeParameters {
  MergeModel model;  // its tables are the device's
  const void* pixels[kMaxExposures];
  int first_row[kMaxExposures], rows[kMaxExposures];
  int y0, y1;
  float* out;  // row y0 on
};
static_assert(sizeof(MergeParameters) <= 4096, "what a kernel can be given");

enum { kDeviation, kSystematic = kDeviation + 3, kEnergy, kEvidencePlanes };

template <int width, int height>
struct MergeTile {
  static constexpr int kWidth = width, kHeight = height, kThreads = width * height;  // a thread a pixel
  static constexpr int kColumns = width + 2 * kMergeHalo, kSamples = kColumns * (height + 2 * kMergeHalo);
  static constexpr int kJudgedColumns = width + 2 * kRegionRadius, kJudgedRows = height + 2 * kRegionRadius,
                       kJudged = kJudgedColumns * kJudgedRows, kSums = width * kJudgedRows;
  float *samples, *trust, *evidence, *sums;  // by exposure and channel, exposure, plane, plane

  static size_t bytes(int exposures) {
    return sizeof(float) * (exposures * (3 * kSamples + kThreads) + kEvidencePlanes * (kJudged + kSums));
  }
  __device__ explicit MergeTile(int exposures)
      : samples(shared_memory<float>()),
        trust(samples + exposures * 3 * kSamples),
        evidence(trust + exposures * kThreads),
        sums(evidence + kEvidencePlanes * kJudged) {}
  /// What is not seen is 0, and its red -1 in memory.
  __device__ __forceinline__ float radiance(int i, int c, int at) const {
    return fmaxf(samples[(i * 3 + c) * kSamples + at], 0.0f);
  }
  __device__ __forceinline__ bool seen(int i, int at) const { return samples[i * 3 * kSamples + at] >= 0; }
};

__device__ __forceinline__ int clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

__device__ __forceinline__ float smoothstep(float from, float scale, float x) {
  const float t = fminf(fmaxf((x - from) * scale, 0.0f), 1.0f);
  return t * t * (3.0f - 2.0f * t);
}

/// Linear light of a stored sample.
template <typename Stored>
__device__ __forceinline__ float linear_light(Stored stored, const float* table, int) {
  return __ldg(table + stored);
}
__device__ __forceinline__ float linear_light(float stored, const float* table, int table_size) {
  const float value = fminf(fmaxf(stored, 0.0f), 1.0f);  // NaN becomes 0
  if (!table) return value;
  const float position = value * (table_size - 1);
  const int code = static_cast<int>(position), below = code < table_size - 2 ? code : table_size - 2;
  const float low = __ldg(table + below);
  return low + (position - below) * (__ldg(table + below + 1) - low);
}

/// What the four pixels around a place count, `f` beyond the second of them (Catmull and Rom).
__device__ __forceinline__ void cubic_weights(float f, float (&weight)[4]) {
  weight[0] = f * (-0.5f + f * (1.0f - 0.5f * f));
  weight[1] = 1.0f + f * f * (1.5f * f - 2.5f);
  weight[2] = f * (0.5f + f * (2.0f - 1.5f * f));
  weight[3] = f * f * (0.5f * f - 0.5f);
}

/// Light where the homography leads, cubic in its root and within the four nearest pixels; false: outside of the
/// exposure.
template <typename Stored>
__device__ __forceinline__ bool sample_aligned(const MergeParameters& p, int i, int x, int y, float (&light)[3]) {
  const MergeModel& m = p.model;
  const MergeModel::Exposure& e = m.exposure[i];
  const double* h = e.homography;
  const int width = static_cast<int>(m.width), height = static_cast<int>(m.height);
  const double w = h[6] * x + h[7] * y + h[8], reciprocal = 1.0 / w;
  const double sx = (h[0] * x + h[1] * y + h[2]) * reciprocal, sy = (h[3] * x + h[4] * y + h[5]) * reciprocal;
  if (!(w > 0 && sx >= 0 && sy >= 0 && sx <= width - 1 && sy <= height - 1) || p.rows[i] < 1) return false;
  const int left = static_cast<int>(sx), top = static_cast<int>(sy), size = static_cast<int>(m.table_size);
  float across[4], along[4], root[3] = {}, low[3] = {FLT_MAX, FLT_MAX, FLT_MAX}, high[3] = {};
  cubic_weights(static_cast<float>(sx - left), across);
  cubic_weights(static_cast<float>(sy - top), along);
#pragma unroll
  for (int row = 0; row < 4; ++row) {
    const Stored* line = static_cast<const Stored*>(p.pixels[i]) +
                         int64_t{clamp(top - 1 + row - p.first_row[i], 0, p.rows[i] - 1)} * width * 3;
#pragma unroll
    for (int column = 0; column < 4; ++column) {
      const Stored* pixel = line + clamp(left - 1 + column, 0, width - 1) * 3;
#pragma unroll
      for (int c = 0; c < 3; ++c) {
        const float tap = sqrtf(linear_light(pixel[c], e.table, size));
        root[c] += along[row] * across[column] * tap;
        if (row == 0 || row == 3 || column == 0 || column == 3) continue;
        low[c] = fminf(low[c], tap), high[c] = fmaxf(high[c], tap);
      }
    }
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float within = fminf(fmaxf(root[c], low[c]), high[c]);
    light[c] = within * within;
  }
  return true;
}

/// Exposure i's radiance in the tile and its halo; beyond the image the border is repeated.
template <typename Stored, typename Tile>
__device__ __forceinline__ void stage(const MergeParameters& p, const Tile& tile, int i, int x0, int y0) {
  const MergeModel& m = p.model;
  const MergeModel::Exposure& e = m.exposure[i];
  const int width = static_cast<int>(m.width), height = static_cast<int>(m.height),
            last = p.y1 + kMergeHalo < height ? p.y1 + kMergeHalo - 1 : height - 1;  // row that is there
  float* to = tile.samples + i * 3 * Tile::kSamples;
  for (int at = threadIdx.x; at < Tile::kSamples; at += Tile::kThreads) {
    const int x = clamp(x0 - kMergeHalo + at % Tile::kColumns, 0, width - 1),
              y = clamp(y0 - kMergeHalo + at / Tile::kColumns, 0, last);
    float light[3];
    bool seen = true;
    if (e.aligned) {
      seen = sample_aligned<Stored>(p, i, x, y, light);
    } else {
      const Stored* pixel = static_cast<const Stored*>(p.pixels[i]) + (int64_t{y - p.first_row[i]} * width + x) * 3;
#pragma unroll
      for (int c = 0; c < 3; ++c) light[c] = linear_light(pixel[c], e.table, static_cast<int>(m.table_size));
    }
#pragma unroll
    for (int c = 0; c < 3; ++c) to[c * Tile::kSamples + at] = seen ? light[c] * e.radiance_scale[c] : -1.0f;
  }
}

/// How far exposure i deviates from its anchor j, for every pixel whose evidence the tile needs.
template <typename Tile>
__device__ __forceinline__ void compare(const MergeModel& m, const Tile& tile, int i, int j, int x0, int y0) {
  const MergeTuning& t = m.tuning;
  const MergeModel::Exposure &ei = m.exposure[i], &ej = m.exposure[j];
  const float floor = ei.noise_floor + ej.noise_floor, slope = ei.noise_slope + ej.noise_slope;
  const float black = ei.black_step + ej.black_step;
  const float relative2 = t.relative_tolerance * t.relative_tolerance, clipped2 = t.clip_tolerance * t.clip_tolerance;
  const float edge2 = 0.25f * t.edge_tolerance * t.edge_tolerance, clip_scale = 1.0f / (t.clip_end - t.clip_start);
  for (int at = threadIdx.x; at < Tile::kJudged; at += Tile::kThreads) {
    // Beyond the image the border's evidence is repeated, which is not that of repeated samples.
    const int x = clamp(x0 - kRegionRadius + at % Tile::kJudgedColumns, 0, static_cast<int>(m.width) - 1),
              y = clamp(y0 - kRegionRadius + at / Tile::kJudgedColumns, 0, static_cast<int>(m.height) - 1);
    const int own = (y - y0 + kMergeHalo) * Tile::kColumns + x - x0 + kMergeHalo;
    const float both = tile.seen(i, own) && tile.seen(j, own) ? 1.0f : 0.0f;
    float energy = 0, systematic = 0;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const float a = tile.radiance(i, c, own), b = tile.radiance(j, c, own), mean = 0.5f * (a + b);
      const float clipped_a = smoothstep(t.clip_start, clip_scale, a / ei.radiance_scale[c]);
      const float clipped_b = smoothstep(t.clip_start, clip_scale, b / ej.radiance_scale[c]);
      // A clipped value is a lower bound: only what lies below it contradicts it.
      const float difference = (a - b) * (1.0f - (a > b ? clipped_b : clipped_a)) * both;
      const float edge =
          fmaxf(fabsf(tile.radiance(j, c, own + 1) - tile.radiance(j, c, own - 1)),
                fabsf(tile.radiance(j, c, own + Tile::kColumns) - tile.radiance(j, c, own - Tile::kColumns)));
      const float bias =
          (relative2 + clipped2 * (clipped_a + clipped_b)) * mean * mean + edge2 * edge * edge + black * black;
      const float inverse = rsqrtf(floor + slope * mean + bias);
      const float deviation = fmaxf(fminf(difference * inverse, t.deviation_limit), -t.deviation_limit);
      tile.evidence[(kDeviation + c) * Tile::kJudged + at] = deviation;
      energy += deviation * deviation * (1.0f / 3);
      systematic += bias * inverse * inverse * (1.0f / 3);
    }
    tile.evidence[kEnergy * Tile::kJudged + at] = energy;
    tile.evidence[kSystematic * Tile::kJudged + at] = systematic;
  }
}

template <int radius>
__device__ __forceinline__ float window_sum(const float* centre, int step) {
  float sum = centre[-radius * step];
#pragma unroll
  for (int k = 1 - radius; k <= radius; ++k) sum += centre[k * step];
  return sum;
}

/// How far exposure i agrees with its anchor j at this thread's pixel, in [0, 1]; by all threads of the block.
template <typename Tile>
__device__ __forceinline__ float judge(const MergeModel& m, const Tile& tile, int i, int j, int x0, int y0) {
  compare(m, tile, i, j, x0, y0);
  __syncthreads();
  for (int at = threadIdx.x; at < Tile::kSums; at += Tile::kThreads) {
    const float* centre = tile.evidence + at / Tile::kWidth * Tile::kJudgedColumns + at % Tile::kWidth + kRegionRadius;
#pragma unroll
    for (int plane = 0; plane < kEnergy; ++plane)
      tile.sums[plane * Tile::kSums + at] = window_sum<kRegionRadius>(centre + plane * Tile::kJudged, 1);
    tile.sums[kEnergy * Tile::kSums + at] = window_sum<kDetailRadius>(centre + kEnergy * Tile::kJudged, 1);
  }
  __syncthreads();
  const MergeTuning& t = m.tuning;
  const float* centre = tile.sums + threadIdx.x + kRegionRadius * Tile::kWidth;
  constexpr float region = 1.0f / ((2 * kRegionRadius + 1) * (2 * kRegionRadius + 1));
  constexpr float detail = 1.0f / ((2 * kDetailRadius + 1) * (2 * kDetailRadius + 1));
  float worst = 0;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const float mean = window_sum<kRegionRadius>(centre + (kDeviation + c) * Tile::kSums, Tile::kWidth) * region;
    worst = fmaxf(worst, mean * mean);
  }
  const float bias = window_sum<kRegionRadius>(centre + kSystematic * Tile::kSums, Tile::kWidth) * region;
  const float energy = window_sum<kDetailRadius>(centre + kEnergy * Tile::kSums, Tile::kWidth) * detail;
  // Noise averages out over the window, a systematic deviation does not.
  const float by_region = worst / ((1.0f - bias) / t.independent_pixels + bias) / t.region_threshold;
  return 1.0f - smoothstep(1.0f, 1.0f / (t.rejection - 1.0f), fmaxf(by_region, energy / t.detail_threshold));
}

/// This thread's pixel, weighed and added up. `trust` is by exposure, a tile's threads apart.
template <typename Tile>
__device__ __forceinline__ void weigh(const MergeModel& m, const Tile& tile, float* trust, int own, float* out) {
  const MergeTuning& t = m.tuning;
  const float clip_scale = 1.0f / (t.clip_end - t.clip_start);
  float mean = 0, total = 0, last[3] = {};
  for (int i = m.exposures - 1; i >= 0; --i) {
    const MergeModel::Exposure& e = m.exposure[i];
    float value[3], lightest = 0, least_light = 1, darkest = 1, brightest = 0;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      value[c] = tile.radiance(i, c, own);
      const float light = value[c] / e.radiance_scale[c];
      lightest = fmaxf(lightest, light), least_light = fminf(least_light, light);
      darkest = fminf(darkest, value[c]), brightest = fmaxf(brightest, value[c]);
    }
    // Where nothing else is left: the shortest trusted exposure, neutral where it clips.
    const float trusted = trust[i * Tile::kThreads], share = i <= m.reference ? trusted : 0.0f;
    const float neutral = smoothstep(t.clip_start, clip_scale, least_light);
#pragma unroll
    for (int c = 0; c < 3; ++c) last[c] += share * (value[c] + neutral * (brightest - value[c]) - last[c]);
    const float usable = trusted * (1.0f - smoothstep(t.clip_start, clip_scale, lightest));
    trust[i * Tile::kThreads] = usable;
    mean += usable / e.noise_floor * darkest;
    total += usable / e.noise_floor;
  }
  // One estimate of the radiance for every exposure's noise: weights that follow their own pixel's noise are biased.
  mean = total > 0 ? mean / total : 1.0f;
  const float least = 1e-4f / (m.exposure[0].noise_floor + m.exposure[0].noise_slope * mean);
  float weights = least, sum[3] = {least * last[0], least * last[1], least * last[2]};
  for (int i = 0; i < m.exposures; ++i) {
    const float weight = trust[i * Tile::kThreads] / (m.exposure[i].noise_floor + m.exposure[i].noise_slope * mean);
    weights += weight;
#pragma unroll
    for (int c = 0; c < 3; ++c) sum[c] += weight * tile.radiance(i, c, own);
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) out[c] = fminf(fmaxf(sum[c] / weights, 0.0f), 1.0f);
}

template <typename Tile>
__global__ void __launch_bounds__(Tile::kThreads) radiance_merge_kernel(MergeParameters p) {
  const MergeModel& m = p.model;
  const Tile tile(m.exposures);
  const int width = static_cast<int>(m.width), across = (width + Tile::kWidth - 1) / Tile::kWidth,
            x0 = static_cast<int>(blockIdx.x % across) * Tile::kWidth,
            y0 = p.y0 + static_cast<int>(blockIdx.x / across) * Tile::kHeight, column = threadIdx.x % Tile::kWidth,
            row = threadIdx.x / Tile::kWidth;
  for (int i = 0; i < m.exposures; ++i) switch (m.depth) {
      case PixelDepth::uint8:
        stage<uint8_t>(p, tile, i, x0, y0);
        break;
      case PixelDepth::uint16:
        stage<uint16_t>(p, tile, i, x0, y0);
        break;
      case PixelDepth::float32:
        stage<float>(p, tile, i, x0, y0);
    }
  __syncthreads();

  const int own = (row + kMergeHalo) * Tile::kColumns + column + kMergeHalo;
  float* trust = tile.trust + threadIdx.x;
  trust[m.reference * Tile::kThreads] = 1.0f;
  // Outwards from the reference on both sides: what a trusted neighbour contradicts is not trusted.
  for (int n = 1; n < m.exposures; ++n) {
    const int i = n <= m.reference ? m.reference - n : n, neighbour = i < m.reference ? i + 1 : i - 1;
    float trusted = judge(m, tile, i, m.reference, x0, y0);
    if (!tile.seen(i, own)) trusted = 0;
    if (neighbour != m.reference)
      trusted *= 1.0f - trust[neighbour * Tile::kThreads] * (1.0f - judge(m, tile, i, neighbour, x0, y0));
    trust[i * Tile::kThreads] = trusted;
  }
  const int x = x0 + column, y = y0 + row;
  if (x < width && y < p.y1) weigh(m, tile, trust, own, p.out + (int64_t{y - p.y0} * width + x) * 3);
}

class CudaMerge final : public MergeDevice {
 public:
  explicit CudaMerge(std::unique_ptr<Device> device) : device_(std::move(device)), memory_(*device_) {}
  const char* name() const override { return device_->name().c_str(); }

  Status load(const MergeModel& model, std::span<const ExposureRows> rows, int64_t y0, int64_t y1) override {
    memory_.enter();
    placed_.clear();
    lacks_memory_ = false;
    parameters_ = {};
    parameters_.model = model;
    const size_t row_bytes = model.width * 3 *
                             (model.depth == PixelDepth::uint8    ? sizeof(uint8_t)
                              : model.depth == PixelDepth::uint16 ? sizeof(uint16_t)
                                                                  : sizeof(float));
    const float* table = model.exposure[0].table;  // all exposures share it
    if (table) table = static_cast<const float*>(place(table, model.table_size * sizeof(float)));
    for (int i = 0; i < model.exposures; ++i) {
      const int64_t count = std::max<int64_t>(0, rows[i].end - rows[i].begin);
      parameters_.model.exposure[i].table = table;
      parameters_.first_row[i] = static_cast<int>(rows[i].begin);
      parameters_.rows[i] = static_cast<int>(count);
      if (count > 0) parameters_.pixels[i] = place(rows[i].data, count * row_bytes);
    }
    parameters_.y0 = static_cast<int>(y0);
    parameters_.y1 = static_cast<int>(y1);
    parameters_.out = static_cast<float*>(place(nullptr, (y1 - y0) * model.width * 3 * sizeof(float)));
    if (lacks_memory_) memory_.fail_allocation();
    return memory_.synchronize();
  }

  Status run() override {
    memory_.enter();
    const bool launched = launch_fitting<MergeTile<32, 16>>(2) || launch_fitting<MergeTile<32, 8>>(2) ||
                          launch_fitting<MergeTile<16, 8>>(2) || launch_fitting<MergeTile<16, 8>>(1) ||
                          launch_fitting<MergeTile<8, 8>>(1);
    if (!launched) device_->keep_lack_of_shared_memory(MergeTile<8, 8>::bytes(parameters_.model.exposures));
    return memory_.synchronize();
  }

  Status fetch(float* out) override {
    memory_.enter();
    memory_.download(parameters_.out, out, (parameters_.y1 - parameters_.y0) * parameters_.model.width * 3);
    // A merger may live on unused, and the network wants the memory.
    placed_.clear();
    memory_.free_unused();
    return memory_.synchronize();
  }

 private:
  /// Memory until the next strip, with what lies `from` unless that is null.
  void* place(const void* from, size_t bytes) {
    placed_.emplace_back(memory_, static_cast<int64_t>((bytes + sizeof(float) - 1) / sizeof(float)));
    if (!placed_.back()) lacks_memory_ = true;
    if (from && !lacks_memory_) memory_.upload_bytes(from, placed_.back().data(), bytes);
    return placed_.back().data();
  }

  template <typename Tile>
  bool launch_fitting(int blocks) {
    const size_t bytes = Tile::bytes(parameters_.model.exposures);
    if (blocks * bytes > device_->shared_bytes()) return false;
    launch(
        *device_, radiance_merge_kernel<Tile>,
        blocks_for(parameters_.model.width, Tile::kWidth) * blocks_for(parameters_.y1 - parameters_.y0, Tile::kHeight),
        Tile::kThreads, bytes, parameters_);
    return true;
  }

  const std::unique_ptr<Device> device_;
  DeviceMemory memory_;
  std::vector<Buffer> placed_;
  bool lacks_memory_ = false;
  MergeParameters parameters_;
};

}  // namespace

Result<std::unique_ptr<MergeDevice>> make_merge_device(int index) {
  Result<std::unique_ptr<Device>> device = Device::open(index);
  if (!device.ok()) return device.error();
  return std::unique_ptr<MergeDevice>(std::make_unique<CudaMerge>(std::move(device.value())));
}

}  // namespace smhdr::cuda::SMHDR_CUDA_TARGET
