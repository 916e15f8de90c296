#include "smhdr/trainer.h"

#include <algorithm>
#include <cmath>

#include "ops/devices.h"
#include "smhdr/progress.h"
#include "train/random.h"

namespace smhdr {
namespace {

/// How many images of this size keep the tape (see the calls of remember()) under `most` bytes. It depends on nothing
/// but the sizes: the sums of a step are then always taken in the same order.
int images_at_once(const NetworkConfig& config, int64_t pixels, int64_t most) {
  int64_t tensors = 3;
  for (const StageConfig& stage : config.stages) tensors += stage.blocks + 3;
  const int64_t bytes = tensors * config.width * pixels * static_cast<int64_t>(sizeof(float));
  return static_cast<int>(std::max<int64_t>(1, most / std::max<int64_t>(1, bytes)));
}

ConstTensor images(ConstTensor all, int first, int count) {
  return {all.at(first, 0, 0), count, all.height, all.width, all.channels};
}

Status check_options(const TrainerOptions& options) {
  const auto within = [](double value, double low, double high) { return value >= low && value < high; };
  const auto refuse = [](const char* name, const char* range, double value) {
    return invalid_argument(std::string(name) + ": expected " + range + ", not " + std::to_string(value) + ".");
  };
  if (!within(options.adam.beta1, 0, 1)) return refuse("beta1", "0 to below 1", options.adam.beta1);
  if (!within(options.adam.beta2, 0, 1)) return refuse("beta2", "0 to below 1", options.adam.beta2);
  if (!(options.adam.epsilon > 0)) return refuse("epsilon", "a number above 0", options.adam.epsilon);
  if (!within(options.decay, 0, 1)) return refuse("decay", "0 to below 1", options.decay);
  if (!within(options.drop_path, 0, 1)) return refuse("dropPath", "0 to below 1", options.drop_path);
  if (!(options.clip >= 0)) return refuse("clip", "0 or more", options.clip);
  if (!(options.perceptual_weight >= 0)) return refuse("perceptualWeight", "0 or more", options.perceptual_weight);
  return {};
}

}  // namespace

/// Values of every parameter one after the other, and the ranges of those that are trained.
struct Trainer::Storage {
  int64_t total;
  Buffer parameters, averages, first, second, gradients;
  struct Range {
    int64_t at, count;
  };
  std::vector<Range> trained;

  Storage(Memory& memory, int64_t floats)
      : total(floats),
        parameters(memory, total),
        averages(memory, total),
        first(zeros(memory, total)),
        second(zeros(memory, total)),
        gradients(zeros(memory, total)) {}
  bool complete() const { return parameters && averages && first && second && gradients; }
};

Result<std::unique_ptr<Trainer>> Trainer::create(const ParameterMap& parameters, const TrainerOptions& options,
                                                 std::shared_ptr<ThreadPool> pool, const std::string& device) {
  auto ops = make_ops(device, *pool, Precision::fp32);
  if (!ops.ok()) return ops.error();
  return create(parameters, options, std::move(ops.value()), std::move(pool));
}

Result<std::unique_ptr<Trainer>> Trainer::create(const ParameterMap& parameters, const TrainerOptions& options,
                                                 std::unique_ptr<Ops> ops, std::shared_ptr<ThreadPool> pool) {
  if (Status status = check_options(options); !status.ok()) return status.error();
  Result<NetworkConfig> config = NetworkConfig::infer(parameters);
  if (!config.ok()) return config.error();
  std::unique_ptr<Trainer> trainer(new Trainer);
  trainer->config_ = config.value();
  trainer->options_ = options;
  trainer->options_.vgg.clear();
  if (options.perceptual == Perceptual::vgg) {
    Result<VggLoss> vgg = VggLoss::create(options.vgg);
    if (!vgg.ok()) return vgg.error();
    trainer->vgg_ = std::move(vgg.value());
  }
  const auto shapes = trainer->config_.parameter_shapes();
  for (const std::string& prefix : options.trained)
    if (std::none_of(shapes.begin(), shapes.end(), [&](const auto& entry) { return entry.first.starts_with(prefix); }))
      return invalid_argument("trained: no parameter's name begins with \"" + prefix + "\".");

  trainer->pool_ = std::move(pool);
  trainer->ops_ = std::move(ops);
  trainer->random_ = options.seed;
  Memory& memory = trainer->ops_->memory();
  if (trainer->vgg_ && !memory.on_host()) trainer->host_ops_ = make_cpu_ops(*trainer->pool_);
  trainer->storage_ = std::make_unique<Storage>(memory, trainer->config_.parameter_count());
  Storage& storage = *trainer->storage_;
  if (!storage.complete())
    return Error{ErrorCode::out_of_memory, "Not enough memory for the parameters and what Adam keeps of them."};
  int64_t at = 0;
  for (const auto& [name, shape] : shapes) {
    const Parameter& from = parameters.at(name);
    const int64_t count = from.size();
    if (!std::all_of(from.data, from.data + count, [](float v) { return std::isfinite(v); }))
      return invalid_argument("weights: " + name + " holds values that are not finite.");
    memory.upload(from.data, storage.parameters.data() + at, count);
    trainer->parameters_[name] = {shape, storage.parameters.data() + at};
    const auto& prefixes = options.trained;
    const std::string& own = name;  // clang captures no structured binding before its version 16
    if (prefixes.empty() || std::any_of(prefixes.begin(), prefixes.end(),
                                        [&](const std::string& prefix) { return own.starts_with(prefix); })) {
      trainer->gradients_[name] = {shape, storage.gradients.data() + at};
      auto& ranges = storage.trained;
      if (!ranges.empty() && ranges.back().at + ranges.back().count == at)
        ranges.back().count += count;
      else
        ranges.push_back({at, count});
    }
    at += count;
  }
  memory.copy(storage.parameters.data(), storage.averages.data(), storage.total);
  if (Status status = memory.synchronize(); !status.ok()) return status.error();
  return trainer;
}

Trainer::~Trainer() = default;

const char* Trainer::device() const { return ops_->name(); }

/// Factors [block][attention, MLP][batch]: 0 with the block's rate, else 1 / (1 - rate).
std::vector<float> Trainer::draw_keep(int batch, uint64_t& random) const {
  int blocks = 0;
  for (const StageConfig& stage : config_.stages) blocks += stage.blocks;
  std::vector<float> keep;
  if (options_.drop_path == 0) return keep;
  for (int block = 0; block < blocks; ++block) {
    const double rate = blocks > 1 ? options_.drop_path * block / (blocks - 1) : 0;
    for (int i = 0; i < 2 * batch; ++i)
      keep.push_back(uniform(random) < rate ? 0.0f : static_cast<float>(1 / (1 - rate)));
  }
  return keep;
}

double Trainer::vgg_loss(ConstTensor prediction, ConstTensor truth, const float* weights, Tensor grad) {
  Memory& memory = ops_->memory();
  const OnHost p(memory, prediction.data, prediction.size()), t(memory, truth.data, truth.size()),
      w(memory, weights, truth.pixels()), g(memory, grad.data, grad.size(), true);
  prediction.data = p.data();
  truth.data = t.data();
  grad.data = g.data();
  return (*vgg_)(host_ops_ ? *host_ops_ : *ops_, prediction, truth, w.data(), options_.perceptual_weight, grad);
}

Status Trainer::accumulate(const TrainingBatch& piece, std::vector<float> keep, double share, StepResult& sums,
                           const Progress* progress) {
  const ConstTensor& shape = piece.truth;
  Memory& memory = ops_->memory();
  ForwardInput input;
  input.mask = piece.mask;
  input.keep = std::move(keep);
  std::vector<OnDevice> placed;
  bool complete = true;
  const auto place = [&](const float* values, int64_t count) {
    placed.emplace_back(memory, values, count);
    complete = complete && (!values || placed.back().data());
    return placed.back().data();
  };
  for (ConstTensor exposure : piece.exposures) {
    exposure.data = place(exposure.data, exposure.size());
    input.exposures.push_back(exposure);
  }
  input.mask.map = place(piece.mask.map, shape.pixels());
  const float* weights = place(piece.weights, shape.pixels());
  ConstTensor truth = shape;
  truth.data = place(shape.data, shape.size());
  const Buffer result(memory, shape.size()), grad_result(memory, shape.size());
  if (!complete || !result || !grad_result)
    return Error{ErrorCode::out_of_memory, "Not enough memory for the batch; use a smaller one."};
  const Tensor out{result.data(), shape.batch, shape.height, shape.width, 3},
      grad{grad_result.data(), shape.batch, shape.height, shape.width, 3};
  Tape tape;
  if (Status status = forward(config_, parameters_, *ops_, input, out, nullptr, progress, &tape); !status.ok())
    return status;
  sums.pixel_loss += share * ops_->mu_law_loss(out, truth, weights, grad);
  if (vgg_)
    sums.perceptual_loss += share * vgg_loss(out, truth, weights, grad);
  else if (options_.perceptual == Perceptual::structure)
    sums.perceptual_loss += share * ops_->structure_loss(out, truth, weights, options_.perceptual_weight, grad);
  if (share != 1) ops_->scale(grad.data, grad.size(), static_cast<float>(share));
  return backward(config_, parameters_, *ops_, input, tape, out, grad, gradients_);
}

Result<StepResult> Trainer::step(const TrainingBatch& batch, double rate, const Progress* progress) {
  std::lock_guard lock(turn_);
  const ConstTensor& truth = batch.truth;
  if (!(rate >= 0) || !std::isfinite(rate))
    return invalid_argument("rate: expected a learning rate of 0 or more, not " + std::to_string(rate) + ".");
  if (batch.exposures.empty() || truth.channels != 3 || truth.batch != batch.exposures[0].batch ||
      truth.height != batch.exposures[0].height || truth.width != batch.exposures[0].width)
    return invalid_argument("truth: must be [batch, height, width, 3] of the exposures' size.");
  if (vgg_ && (truth.height < 16 || truth.width < 16))
    return invalid_argument("truth: VGG-19's features need at least 16 x 16 pixels.");
  {
    ForwardInput input;
    input.exposures = batch.exposures;
    input.mask = batch.mask;
    if (Status status = check_forward(config_, input); !status.ok()) return status.error();
  }
  Memory& memory = ops_->memory();
  memory.enter();
  memory.fill(storage_->gradients.data(), 0, storage_->total);
  uint64_t random = random_;
  const std::vector<float> keep = draw_keep(truth.batch, random);
  const int64_t area = int64_t{truth.height} * truth.width;
  const int most = images_at_once(config_, area, options_.tape_bytes);
  StepResult result;
  for (int first = 0; first < truth.batch; first += most) {
    const int count = std::min(most, truth.batch - first);
    TrainingBatch piece;
    for (const ConstTensor& exposure : batch.exposures) piece.exposures.push_back(images(exposure, first, count));
    piece.truth = images(truth, first, count);
    piece.weights = batch.weights ? batch.weights + first * area : nullptr;
    piece.mask = batch.mask;
    if (piece.mask.map) piece.mask.map += first * area;
    std::vector<float> own;
    for (size_t row = 0; row < keep.size(); row += truth.batch)
      own.insert(own.end(), keep.begin() + row + first, keep.begin() + row + first + count);
    const Status status = accumulate(piece, std::move(own), double(count) / truth.batch, result, progress);
    if (!status.ok()) return status.error();
    if (progress && progress->stop()) return Error{ErrorCode::cancelled, "Cancelled."};
  }
  result.loss = result.pixel_loss + options_.perceptual_weight * result.perceptual_loss;
  // A frozen parameter's gradient is 0.
  result.gradient_norm = std::sqrt(ops_->squared_norm(storage_->gradients.data(), storage_->total));
  if (Status status = memory.synchronize(); !status.ok()) return status.error();
  result.applied = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
  if (result.applied) {
    random_ = random;
    apply(rate, result.gradient_norm);
    if (Status status = memory.synchronize(); !status.ok()) return status.error();
  }
  return result;
}

void Trainer::apply(double rate, double norm) {
  const Storage& s = *storage_;
  if (options_.clip > 0 && norm > options_.clip)
    ops_->scale(s.gradients.data(), s.total, static_cast<float>(options_.clip / norm));
  AdamArgs args{options_.adam, ++steps_, 0, nullptr, nullptr, nullptr, nullptr};
  args.options.rate = rate;
  const double step = double(steps_);
  args.pull = static_cast<float>(1 - std::min(options_.decay, (1 + step) / (10 + step)));
  for (const auto& [at, count] : s.trained) {
    args.count = count;
    args.gradient = s.gradients.data() + at;
    args.first = s.first.data() + at;
    args.second = s.second.data() + at;
    args.parameter = s.parameters.data() + at;
    args.average = s.averages.data() + at;
    ops_->adam_step(args);
  }
}

TrainerState Trainer::state() const {
  std::lock_guard lock(turn_);
  ops_->memory().enter();
  TrainerState state{steps_, random_, {}, {}, {}, {}};
  const auto read = [&](const Buffer& from, std::vector<float>& to) {
    to.resize(storage_->total);
    ops_->memory().download(from.data(), to.data(), storage_->total);
  };
  read(storage_->parameters, state.parameters);
  read(storage_->averages, state.averages);
  read(storage_->first, state.first);
  read(storage_->second, state.second);
  return state;
}

Status Trainer::restore(const TrainerState& state) {
  std::lock_guard lock(turn_);
  const size_t expected = storage_->total;
  for (const std::vector<float>* part : {&state.parameters, &state.averages, &state.first, &state.second})
    if (part->size() != expected)
      return invalid_argument("state: expected " + std::to_string(expected) + " values of every kind, not " +
                              std::to_string(part->size()) + ".");
  ops_->memory().enter();
  const auto write = [&](const std::vector<float>& from, const Buffer& to) {
    ops_->memory().upload(from.data(), to.data(), storage_->total);
  };
  write(state.parameters, storage_->parameters);
  write(state.averages, storage_->averages);
  write(state.first, storage_->first);
  write(state.second, storage_->second);
  steps_ = state.steps;
  random_ = state.random;
  return ops_->memory().synchronize();
}

}  // namespace smhdr
