// The stand-in for the perceptual term: differences between neighbours at three sizes.
#include <cmath>
#include <vector>

#include "smhdr/training.h"

namespace smhdr {
namespace {

constexpr int kSizes = 3;

/// An image of `channels` values a pixel and what is known about it at one size.
struct Plane {
  int height, width, channels;
  std::vector<double> values;
  double& at(int y, int x, int c) { return values[(size_t(y) * width + x) * channels + c]; }
  double at(int y, int x, int c) const { return values[(size_t(y) * width + x) * channels + c]; }
};

Plane like(const Plane& plane) {
  return {plane.height, plane.width, plane.channels, std::vector<double>(plane.values.size())};
}

/// Means of 2x2; an odd last row or column is left out.
Plane halve(const Plane& from) {
  Plane to{from.height / 2, from.width / 2, from.channels, {}};
  to.values.resize(size_t(to.height) * to.width * to.channels);
  for (int y = 0; y < to.height; ++y)
    for (int x = 0; x < to.width; ++x)
      for (int c = 0; c < to.channels; ++c)
        to.at(y, x, c) = 0.25 * (from.at(2 * y, 2 * x, c) + from.at(2 * y, 2 * x + 1, c) +
                                 from.at(2 * y + 1, 2 * x, c) + from.at(2 * y + 1, 2 * x + 1, c));
  return to;
}

/// Adds the gradient of a halved plane to that of the plane.
void halve_backward(const Plane& grad, Plane& to) {
  for (int y = 0; y < grad.height; ++y)
    for (int x = 0; x < grad.width; ++x)
      for (int c = 0; c < grad.channels; ++c)
        for (int i = 0; i < 4; ++i) to.at(2 * y + i / 2, 2 * x + i % 2, c) += 0.25 * grad.at(y, x, c);
}

/// Mean of W |d(neighbour) - d| along one axis; its gradient is added to `grad`.
double differences(const Plane& d, const Plane& weight, int dy, int dx, Plane& grad) {
  const int rows = d.height - dy, columns = d.width - dx;
  if (rows < 1 || columns < 1) return 0;
  const double share = 1 / (double(rows) * columns * d.channels);
  double total = 0;
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < columns; ++x) {
      const double w = 0.5 * (weight.at(y, x, 0) + weight.at(y + dy, x + dx, 0)) * share;
      for (int c = 0; c < d.channels; ++c) {
        const double step = d.at(y + dy, x + dx, c) - d.at(y, x, c), sign = (step > 0) - (step < 0);
        total += std::fabs(w * step);
        grad.at(y + dy, x + dx, c) += sign * std::fabs(w);
        grad.at(y, x, c) -= sign * std::fabs(w);
      }
    }
  return total;
}

}  // namespace

double structure_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double scale, Tensor grad) {
  const int height = prediction.height, width = prediction.width, channels = prediction.channels;
  const int64_t area = int64_t{height} * width;
  const double share = 1.0 / (kSizes * prediction.batch);
  double total = 0;
  for (int b = 0; b < prediction.batch; ++b) {
    const float *p = prediction.at(b, 0, 0), *t = truth.at(b, 0, 0);
    std::vector<Plane> d, w, g;
    d.push_back({height, width, channels, std::vector<double>(area * channels)});
    w.push_back({height, width, 1, std::vector<double>(area, 1.0)});
    for (int64_t i = 0; i < area * channels; ++i) d[0].values[i] = mu_law(p[i]) - mu_law(t[i]);
    if (weights) w[0].values.assign(weights + b * area, weights + (b + 1) * area);
    for (int size = 0; size < kSizes; ++size) {
      if (size > 0) {
        d.push_back(halve(d.back()));
        w.push_back(halve(w.back()));
      }
      g.push_back(like(d.back()));
      total += share * differences(d.back(), w.back(), 0, 1, g.back());
      total += share * differences(d.back(), w.back(), 1, 0, g.back());
    }
    if (!grad.data) continue;
    for (int size = kSizes - 1; size > 0; --size) halve_backward(g[size], g[size - 1]);
    float* out = grad.at(b, 0, 0);
    for (int64_t i = 0; i < area * channels; ++i)
      out[i] += static_cast<float>(scale * share * g[0].values[i] * mu_law_slope(p[i]));
  }
  return total;
}

}  // namespace smhdr
