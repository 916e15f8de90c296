// What training needs of a device, by the host's own loops.
#include "ops/ops.h"

namespace smhdr {
namespace {

/// A view of the same shape over other floats.
template <typename T>
View<T> like(const View<T>& shape, T* data) {
  return {data, shape.batch, shape.height, shape.width, shape.channels};
}

}  // namespace

double Ops::mu_law_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double squared, Tensor grad) {
  const OnHost p(memory(), prediction.data, prediction.size()), t(memory(), truth.data, truth.size()),
      w(memory(), weights, prediction.pixels()), g(memory(), grad.data, prediction.size(), true);
  return smhdr::mu_law_loss(like<const float>(prediction, p.data()), like<const float>(truth, t.data()), w.data(),
                            squared, like(grad, g.data()));
}

double Ops::structure_loss(ConstTensor prediction, ConstTensor truth, const float* weights, double scale, Tensor grad) {
  const OnHost p(memory(), prediction.data, prediction.size()), t(memory(), truth.data, truth.size()),
      w(memory(), weights, prediction.pixels()), g(memory(), grad.data, prediction.size(), true);
  return smhdr::structure_loss(like<const float>(prediction, p.data()), like<const float>(truth, t.data()), w.data(),
                               scale, like(grad, g.data()));
}

double Ops::squared_norm(const float* values, int64_t count) {
  const OnHost v(memory(), values, count);
  double squares = 0;
  for (int64_t i = 0; i < count; ++i) squares += double(v.data()[i]) * v.data()[i];
  return squares;
}

void Ops::scale(float* values, int64_t count, float factor) {
  const OnHost v(memory(), values, count, true);
  for (int64_t i = 0; i < count; ++i) v.data()[i] *= factor;
}

void Ops::adam_step(const AdamArgs& args) {
  const OnHost gradient(memory(), args.gradient, args.count), first(memory(), args.first, args.count, true),
      second(memory(), args.second, args.count, true), parameter(memory(), args.parameter, args.count, true),
      average(memory(), args.average, args.count, true);
  smhdr::adam_step(args.options, args.step, args.count, gradient.data(), first.data(), second.data(), parameter.data());
  if (!args.average) return;
  const float* weight = parameter.data();
  float* own = average.data();
  for (int64_t i = 0; i < args.count; ++i)
    own[i] = args.pull == 1 ? weight[i] : own[i] + args.pull * (weight[i] - own[i]);
}

}  // namespace smhdr
