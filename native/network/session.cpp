#include "smhdr/session.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "network/composed.h"
#include "ops/devices.h"
#include "ops/memory.h"
#include "smhdr/progress.h"

namespace smhdr {
namespace {

/// One run computes, one copies. A third would gain nothing: copies are the shorter part.
constexpr int kStagings = 2;

const Error kOutOfMemory{ErrorCode::out_of_memory, "Not enough memory on the device; use smaller tiles."};

}  // namespace

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
  session->kept_ = std::make_unique<KeptMemory>();
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
  for (int i = 0; i < kStagings && !memory.on_host(); ++i) {
    session->stagings_.push_back(memory.make_staging());
    session->idle_.push_back(session->stagings_.back().get());
  }
  return session;
}

Session::~Session() = default;

void Session::forget() {
  // A run that goes on needs it, and whoever called that one forgets again.
  if (const std::unique_lock lock(turn_, std::try_to_lock); lock) kept_->release();
}

const char* Session::device() const { return ops_->name(); }

bool Session::on_host() const { return ops_->memory().on_host(); }

int64_t Session::available_memory() {
  std::lock_guard lock(turn_);
  ops_->memory().enter();
  int64_t bytes = ops_->memory().available();
  if (bytes < 0) return bytes;
  for (const auto& staging : stagings_) bytes += staging->bytes();  // theirs again
  return bytes;
}

const Composed* Session::compose(int exposures) {
  if (!composed_ || composed_->exposures() != exposures) {
    composed_ = nullptr;  // its memory is free again
    composed_ = std::make_unique<Composed>(config_, parameters_, exposures, ops_->memory());
    if (composed_->lacks_memory()) composed_ = nullptr;  // forward() can do without
  }
  return composed_.get();
}

Status Session::run(const ForwardInput& input, Tensor out, const Progress* progress) {
  if (Status status = check_forward(config_, input); !status.ok()) return status;
  if (on_host()) {
    std::lock_guard lock(turn_);
    const Composed* composed = compose(static_cast<int>(input.exposures.size()));
    KeptMemory* kept = input.sums ? kept_.get() : nullptr;
    return forward(config_, parameters_, *ops_, input, out, nullptr, progress, nullptr, composed, kept);
  }
  Staging* staging;
  {
    std::unique_lock lock(idle_turn_);
    given_back_.wait(lock, [&] { return !idle_.empty(); });
    staging = idle_.back();
    idle_.pop_back();
  }
  const Status status = run_on_device(input, out, progress, *staging);
  {
    const std::lock_guard lock(idle_turn_);
    idle_.push_back(staging);
  }
  given_back_.notify_one();
  if (!status.ok() && status.error().code == ErrorCode::out_of_memory) {
    const std::scoped_lock lock(turn_, idle_turn_);
    ops_->memory().enter();
    for (Staging* idle : idle_) idle->reserve(0);  // smaller runs shall have what these hold
  }
  return status;
}

Status Session::run_on_device(const ForwardInput& input, Tensor out, const Progress* progress, Staging& staging) {
  Memory& memory = ops_->memory();
  const int64_t pixels = input.exposures[0].pixels(), exposures = static_cast<int64_t>(input.exposures.size());
  const int64_t floats = pixels * (6 * exposures + (input.mask.map ? 1 : 0) + 3);
  if (!staging.fits(floats)) {
    std::lock_guard lock(turn_);
    memory.enter();
    const bool enough = staging.reserve(floats);
    if (Status status = staging.status(); !status.ok()) return status;
    if (!enough) return kOutOfMemory;
  }
  ForwardInput own = input;
  float* next = staging.data();
  const auto place = [&](const float* values, int64_t count) {
    staging.upload(values, next, count);
    return std::exchange(next, next + count);
  };
  for (ConstTensor& exposure : own.exposures) exposure.data = place(exposure.data, exposure.size());
  if (input.mask.map) own.mask.map = place(input.mask.map, pixels);
  if (Status status = staging.status(); !status.ok()) return status;
  {
    std::lock_guard lock(turn_);
    memory.enter();
    const Composed* composed = compose(static_cast<int>(exposures));
    staging.begin();
    const Tensor own_out{next, out.batch, out.height, out.width, out.channels};
    const Status status = forward(config_, parameters_, *ops_, own, own_out, nullptr, progress, nullptr, composed);
    staging.end();
    if (!status.ok()) return status;
  }
  staging.download(next, out.data, out.size());
  return staging.status();
}

}  // namespace smhdr
