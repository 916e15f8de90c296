#include <cmath>

#include "smhdr/training.h"

namespace smhdr {
namespace {

const double kScale = 1 / std::log1p(kMu);

}  // namespace

double mu_law_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double squared, Tensor grad) {
  double total = 0;
  const double share = 1 / double(prediction.size());
  for (int64_t i = 0; i < prediction.size(); ++i) {
    const double weight = weights ? weights[i / prediction.channels] : 1.0, p = prediction.data[i];
    const double difference = (std::log1p(kMu * p) - std::log1p(kMu * truth.data[i])) * kScale;
    total += std::fabs(weight * difference) * (1 + squared / 2 * std::fabs(difference));
    if (grad.data) {
      const double slope = (difference > 0) - (difference < 0) + squared * difference;
      grad.data[i] = static_cast<float>(slope * std::fabs(weight) * share * mu_law_slope(p));
    }
  }
  return total * share;
}

}  // namespace smhdr
