#include "smhdr/session.h"

#include <algorithm>
#include <cmath>
#include <new>

#include "network/composed.h"
#include "ops/ops.h"
#include "smhdr/progress.h"

namespace smhdr {

Result<std::unique_ptr<Session>> Session::create(const ParameterMap& parameters, std::shared_ptr<ThreadPool> pool,
                                                  Precision precision) {
  if (precision == Precision::bf16 && !cpu_has_bf16())
    return Error{ErrorCode::unsupported, "precision: this processor has no bfloat16 products (AVX-512 BF16)."};
  Result<NetworkConfig> config = NetworkConfig::infer(parameters);
  if (!config.ok()) return config.error();
  std::unique_ptr<Session> session(new Session);
  session->config_ = config.value();
  session->storage_.reset(new (std::nothrow) float[session->config_.parameter_count()]);
  if (!session->storage_) return Error{ErrorCode::out_of_memory, "Not enough memory for the model's weights."};
  float* next = session->storage_.get();
  for (const auto& [name, shape] : session->config_.parameter_shapes()) {
    int64_t count = 1;
    for (int64_t d : shape) count *= d;
    const float* from = parameters.at(name).data;
    if (!std::all_of(from, from + count, [](float v) { return std::isfinite(v); }))
      return invalid_argument("weights: " + name + " holds values that are not finite.");
    std::copy_n(from, count, next);
    session->parameters_[name] = {shape, next};
    next += count;
  }
  session->ops_ = make_cpu_ops(*pool, cpu_isa(), precision);
  session->pool_ = std::move(pool);
  return session;
}

Session::~Session() = default;

const char* Session::device() const { return ops_->name(); }

Status Session::run(const ForwardInput& input, Tensor out, const Progress* progress) {
  std::lock_guard lock(turn_);
  if (Status status = check_forward(config_, input); !status.ok()) return status;
  const int exposures = static_cast<int>(input.exposures.size());
  if (!composed_ || composed_->exposures() != exposures)
    composed_ = std::make_unique<Composed>(config_, parameters_, exposures);
  return forward(config_, parameters_, *ops_, input, out, nullptr, progress, nullptr, composed_.get());
}

}  // namespace smhdr
