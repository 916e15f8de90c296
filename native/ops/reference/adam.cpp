#include <cmath>

#include "smhdr/training.h"

namespace smhdr {

void adam_step(const AdamOptions& options, int64_t step, int64_t count, const float* gradient, float* first,
               float* second, float* parameter) {
  const double correction1 = 1 - std::pow(options.beta1, double(step)),
               correction2 = 1 - std::pow(options.beta2, double(step));
  const float beta1 = static_cast<float>(options.beta1), beta2 = static_cast<float>(options.beta2);
  const float rate = static_cast<float>(options.rate / correction1),
              root = static_cast<float>(1 / std::sqrt(correction2)), epsilon = static_cast<float>(options.epsilon);
  for (int64_t i = 0; i < count; ++i) {
    first[i] = beta1 * first[i] + (1 - beta1) * gradient[i];
    second[i] = beta2 * second[i] + (1 - beta2) * gradient[i] * gradient[i];
    parameter[i] -= rate * first[i] / (std::sqrt(second[i]) * root + epsilon);
  }
}

}  // namespace smhdr
