#include "ops/reference/radiance_merge.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/reference/exposure_rows.h"

namespace smhdr::reference {
namespace {

double smoothstep(double from, double to, double x) {
  const double t = std::clamp((x - from) / (to - from), 0.0, 1.0);
  return t * t * (3 - 2 * t);
}

/// A plane of the whole image; reading outside repeats the border.
struct Plane {
  int64_t width, height;
  std::vector<double> data;
  Plane(int64_t w, int64_t h) : width(w), height(h), data(w * h) {}
  double& at(int64_t x, int64_t y) { return data[y * width + x]; }
  double get(int64_t x, int64_t y) const {
    return data[std::clamp<int64_t>(y, 0, height - 1) * width + std::clamp<int64_t>(x, 0, width - 1)];
  }
};

struct Exposure {
  std::vector<Plane> radiance;  // per channel
  Plane seen;                   // 1 where the exposure has a pixel, else 0
};

Exposure sample(const MergeModel& m, int i, const ExposureRows& rows) {
  const MergeModel::Exposure& e = m.exposure[i];
  const StoredExposure stored{m.width, m.height, m.depth, e.table, m.table_size, rows};
  Exposure out{{3, Plane(m.width, m.height)}, Plane(m.width, m.height)};
  for (int64_t y = 0; y < m.height; ++y)
    for (int64_t x = 0; x < m.width; ++x) {
      double sx = x, sy = y;
      if (e.aligned) {
        const double* h = e.homography;
        const double w = h[6] * x + h[7] * y + h[8];
        sx = (h[0] * x + h[1] * y + h[2]) / w;
        sy = (h[3] * x + h[4] * y + h[5]) / w;
        if (!(w > 0 && sx >= 0 && sy >= 0 && sx <= m.width - 1 && sy <= m.height - 1)) continue;
      }
      out.seen.at(x, y) = 1;
      for (int c = 0; c < 3; ++c)
        out.radiance[c].at(x, y) =
            e.radiance_scale[c] * (e.aligned ? light_between(stored, sx, sy, c) : linear_light(stored, x, y, c));
    }
  return out;
}

double clipped(const MergeModel& m, int i, int c, double radiance) {
  return smoothstep(m.tuning.clip_start, m.tuning.clip_end, radiance / m.exposure[i].radiance_scale[c]);
}

/// How far exposure i may be trusted to show at each pixel what its anchor j shows, in [0, 1].
Plane agreement(const MergeModel& m, int i, const Exposure& a, int j, const Exposure& b) {
  const MergeTuning& t = m.tuning;
  const MergeModel::Exposure &ei = m.exposure[i], &ej = m.exposure[j];
  std::vector<Plane> deviation(3, Plane(m.width, m.height));
  Plane energy(m.width, m.height), systematic(m.width, m.height);
  for (int64_t y = 0; y < m.height; ++y)
    for (int64_t x = 0; x < m.width; ++x)
      for (int c = 0; c < 3; ++c) {
        const double ra = a.radiance[c].get(x, y), rb = b.radiance[c].get(x, y);
        // A clipped value is a lower bound: only what lies below it contradicts it.
        double difference = ra - rb;
        const double clipped_a = clipped(m, i, c, ra), clipped_b = clipped(m, j, c, rb);
        difference *= 1 - (difference > 0 ? clipped_b : clipped_a);
        difference *= a.seen.get(x, y) * b.seen.get(x, y);
        const double mean = 0.5 * (ra + rb);
        const double noise = ei.noise_floor + ej.noise_floor + (ei.noise_slope + ej.noise_slope) * mean;
        const double edge = 0.5 * std::max(std::abs(b.radiance[c].get(x + 1, y) - b.radiance[c].get(x - 1, y)),
                                           std::abs(b.radiance[c].get(x, y + 1) - b.radiance[c].get(x, y - 1)));
        const double black = ei.black_step + ej.black_step;
        const double relative =
            std::pow(t.relative_tolerance, 2) + std::pow(t.clip_tolerance, 2) * (clipped_a + clipped_b);
        const double bias = relative * mean * mean + std::pow(t.edge_tolerance * edge, 2) + black * black;
        const double limit = t.deviation_limit;
        const double d = std::clamp(difference / std::sqrt(noise + bias), -limit, limit);
        deviation[c].at(x, y) = d;
        energy.at(x, y) += d * d / 3;
        systematic.at(x, y) += bias / (noise + bias) / 3;
      }
  const auto window_mean = [](const Plane& plane, int64_t x, int64_t y, int radius) {
    double sum = 0;
    for (int dy = -radius; dy <= radius; ++dy)
      for (int dx = -radius; dx <= radius; ++dx) sum += plane.get(x + dx, y + dy);
    return sum / ((2 * radius + 1) * (2 * radius + 1));
  };
  Plane out(m.width, m.height);
  for (int64_t y = 0; y < m.height; ++y)
    for (int64_t x = 0; x < m.width; ++x) {
      // Noise averages out over the window, a systematic deviation does not.
      const double bias = window_mean(systematic, x, y, kRegionRadius);
      double worst = 0;
      for (int c = 0; c < 3; ++c) worst = std::max(worst, std::pow(window_mean(deviation[c], x, y, kRegionRadius), 2));
      const double region = worst / ((1 - bias) / t.independent_pixels + bias);
      const double detail = window_mean(energy, x, y, kDetailRadius);
      out.at(x, y) = 1 - smoothstep(1, t.rejection, std::max(region / t.region_threshold, detail / t.detail_threshold));
    }
  return out;
}

}  // namespace

void radiance_merge(const MergeModel& m, std::span<const ExposureRows> rows, float* out) {
  const MergeTuning& t = m.tuning;
  const MergePairs pairs = merge_pairs(m);
  std::vector<Exposure> exposures;
  for (int i = 0; i < m.exposures; ++i) exposures.push_back(sample(m, i, rows[i]));
  std::vector<Plane> agreements;
  for (int p = 0; p < pairs.count; ++p)
    agreements.push_back(
        agreement(m, pairs.exposure[p], exposures[pairs.exposure[p]], pairs.anchor[p], exposures[pairs.anchor[p]]));

  for (int64_t y = 0; y < m.height; ++y)
    for (int64_t x = 0; x < m.width; ++x) {
      double trust[kMaxExposures], usable[kMaxExposures], value[kMaxExposures][3];
      // Outwards from the reference: what a trusted neighbour contradicts is not trusted.
      const auto judge = [&](int i, int neighbour) {
        trust[i] = exposures[i].seen.get(x, y) * agreements[pairs.with_reference[i]].get(x, y);
        if (pairs.with_neighbour[i] >= 0)
          trust[i] *= 1 - trust[neighbour] * (1 - agreements[pairs.with_neighbour[i]].get(x, y));
      };
      trust[m.reference] = 1;
      for (int i = m.reference - 1; i >= 0; --i) judge(i, i + 1);
      for (int i = m.reference + 1; i < m.exposures; ++i) judge(i, i - 1);

      double mean = 0, total = 0;
      for (int i = 0; i < m.exposures; ++i) {
        double light = 0, darkest = 1;
        for (int c = 0; c < 3; ++c) {
          value[i][c] = exposures[i].radiance[c].get(x, y);
          light = std::max(light, value[i][c] / m.exposure[i].radiance_scale[c]);
          darkest = std::min(darkest, value[i][c]);
        }
        usable[i] = trust[i] * (1 - smoothstep(t.clip_start, t.clip_end, light));
        mean += usable[i] / m.exposure[i].noise_floor * darkest;
        total += usable[i] / m.exposure[i].noise_floor;
      }
      // One estimate of the radiance for every exposure's noise: weights that follow their own pixel's noise are
      // biased.
      const double radiance = total > 0 ? mean / total : 1;

      // Where nothing else is left: the shortest trusted exposure, neutral where it clips.
      double last[3] = {};
      for (int i = m.reference; i >= 0; --i) {
        double darkest = 1, brightest = 0;
        for (int c = 0; c < 3; ++c) {
          darkest = std::min(darkest, value[i][c] / m.exposure[i].radiance_scale[c]);
          brightest = std::max(brightest, value[i][c]);
        }
        const double neutral = smoothstep(t.clip_start, t.clip_end, darkest);
        for (int c = 0; c < 3; ++c) last[c] += trust[i] * (value[i][c] + neutral * (brightest - value[i][c]) - last[c]);
      }
      const double least = 1e-4 / (m.exposure[0].noise_floor + m.exposure[0].noise_slope * radiance);
      double weights = least;
      for (int i = 0; i < m.exposures; ++i)
        weights += usable[i] / (m.exposure[i].noise_floor + m.exposure[i].noise_slope * radiance);
      for (int c = 0; c < 3; ++c) {
        double sum = least * last[c];
        for (int i = 0; i < m.exposures; ++i)
          sum += usable[i] / (m.exposure[i].noise_floor + m.exposure[i].noise_slope * radiance) * value[i][c];
        out[(y * m.width + x) * 3 + c] = static_cast<float>(std::clamp(sum / weights, 0.0, 1.0));
      }
    }
}

}  // namespace smhdr::reference
