#include "smhdr/session.h"

#include <algorithm>
#include <cmath>

#include "network/composed.h"
#include "ops/devices.h"
#include "smhdr/progress.h"

namespace smhdr {

Result<std::unique_ptr<Session>> Session::create(const ParameterMap& parameters, std::shared_ptr<ThreadPool> pool,
                                                 Precision precision, const std::string& device) {
  auto ops = make_ops(device, *pool, precision);
  if (!ops.ok()) return ops.error();
  return create(parameters, std::move(ops.value()), std::move(pool));
}

Result<std::unique_ptr<Session>> Session::create(const ParameterMap& parameters, std::unique_ptr<Ops> ops,
                                                 std::shared_ptr<ThreadPool> pool) {
  Result<NetworkConfig> config = NetworkConfig::infer(parameters);
  if (!config.ok()) return config.error();
  std::unique_ptr<Session> session(new Session);
  session->config_ = config.value();
  session->pool_ = std::move(pool);
  session->ops_ = std::move(ops);
  Memory& memory = session->ops_->memory();
  session->storage_ = std::make_unique<Buffer>(memory, session->config_.parameter_count());
  if (!*session->storage_) return Error{ErrorCode::out_of_memory, "Not enough memory for the model's weights."};
  float* next = session->storage_->data();
  for (const auto& [name, shape] : session->config_.parameter_shapes()) {
    const Parameter own{shape, next};
    const float* from = parameters.at(name).data;
    if (!std::all_of(from, from + own.size(), [](float v) { return std::isfinite(v); }))
      return invalid_argument("weights: " + name + " holds values that are not finite.");
    memory.upload(from, next, own.size());
    session->parameters_[name] = own;
    next += own.size();
  }
  if (Status status = memory.synchronize(); !status.ok()) return status.error();
  return session;
}

Session::~Session() = default;

const char* Session::device() const { return ops_->name(); }

int64_t Session::available_memory() {
  std::lock_guard lock(turn_);
  ops_->memory().enter();
  return ops_->memory().available();
}

Status Session::run(const ForwardInput& input, Tensor out, const Progress* progress) {
  std::lock_guard lock(turn_);
  if (Status status = check_forward(config_, input); !status.ok()) return status;
  const int exposures = static_cast<int>(input.exposures.size());
  Memory& memory = ops_->memory();
  memory.enter();
  if (!composed_ || composed_->exposures() != exposures) {
    composed_ = nullptr;  // its memory is free again
    composed_ = std::make_unique<Composed>(config_, parameters_, exposures, memory);
    if (composed_->lacks_memory()) composed_ = nullptr;  // forward() can do without
  }
  if (memory.on_host())
    return forward(config_, parameters_, *ops_, input, out, nullptr, progress, nullptr, composed_.get());

  const Error out_of_memory{ErrorCode::out_of_memory, "Not enough memory on the device; use smaller tiles."};
  ForwardInput own = input;
  std::vector<OnDevice> placed;
  for (ConstTensor& exposure : own.exposures) {
    placed.emplace_back(memory, exposure.data, exposure.size());
    exposure.data = placed.back().data();
    if (!exposure.data) return out_of_memory;
  }
  const OnDevice map(memory, input.mask.map, input.exposures[0].pixels());
  const Buffer result(memory, out.size());
  if (!result || (input.mask.map && !map.data())) return out_of_memory;
  own.mask.map = map.data();
  const Tensor own_out{result.data(), out.batch, out.height, out.width, out.channels};
  const Status status = forward(config_, parameters_, *ops_, own, own_out, nullptr, progress, nullptr, composed_.get());
  if (!status.ok()) return status;
  memory.download(own_out.data, out.data, out.size());
  return memory.synchronize();
}

}  // namespace smhdr
