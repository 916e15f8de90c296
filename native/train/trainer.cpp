#include "smhdr/trainer.h"

#include <algorithm>
#include <cmath>

#include "ops/ops.h"
#include "smhdr/progress.h"
#include "train/random.h"

namespace smhdr {
namespace {

int64_t size_of(const Parameter& parameter) {
  int64_t count = 1;
  for (int64_t d : parameter.shape) count *= d;
  return count;
}

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

Result<std::unique_ptr<Trainer>> Trainer::create(const ParameterMap& parameters, const TrainerOptions& options,
                                                 std::shared_ptr<ThreadPool> pool) {
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

  const int64_t total = trainer->config_.parameter_count();
  TrainerState& state = trainer->state_;
  state.random = options.seed;
  state.parameters.reserve(total);
  trainer->gradient_storage_.assign(total, 0.0f);
  for (const auto& [name, shape] : shapes) {
    const Parameter& from = parameters.at(name);
    const int64_t count = size_of(from), at = static_cast<int64_t>(state.parameters.size());
    if (!std::all_of(from.data, from.data + count, [](float v) { return std::isfinite(v); }))
      return invalid_argument("weights: " + name + " holds values that are not finite.");
    state.parameters.insert(state.parameters.end(), from.data, from.data + count);
    trainer->parameters_[name] = {shape, state.parameters.data() + at};
    const auto& prefixes = options.trained;
    const std::string& own = name;  // clang captures no structured binding before its version 16
    if (prefixes.empty() || std::any_of(prefixes.begin(), prefixes.end(),
                                        [&](const std::string& prefix) { return own.starts_with(prefix); }))
      trainer->gradients_[name] = {shape, trainer->gradient_storage_.data() + at};
  }
  state.averages = state.parameters;
  state.first.assign(total, 0.0f);
  state.second.assign(total, 0.0f);
  trainer->ops_ = make_cpu_ops(*pool);
  trainer->pool_ = std::move(pool);
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

Status Trainer::accumulate(const TrainingBatch& piece, std::vector<float> keep, double share, StepResult& sums,
                           const Progress* progress) {
  const ConstTensor& shape = piece.truth;
  ForwardInput input;
  input.exposures = piece.exposures;
  input.mask = piece.mask;
  input.keep = std::move(keep);
  std::vector<float> result(shape.size()), grad_result(shape.size());
  const Tensor out{result.data(), shape.batch, shape.height, shape.width, 3},
      grad{grad_result.data(), shape.batch, shape.height, shape.width, 3};
  Tape tape;
  if (Status status = forward(config_, parameters_, *ops_, input, out, nullptr, progress, &tape); !status.ok())
    return status;
  sums.pixel_loss += share * mu_law_loss(out, piece.truth, piece.weights, grad);
  const double scale = options_.perceptual_weight;
  if (vgg_)
    sums.perceptual_loss += share * (*vgg_)(*ops_, out, piece.truth, piece.weights, scale, grad);
  else if (options_.perceptual == Perceptual::structure)
    sums.perceptual_loss += share * structure_loss(out, piece.truth, piece.weights, scale, grad);
  for (float& g : grad_result) g *= static_cast<float>(share);
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
  std::fill(gradient_storage_.begin(), gradient_storage_.end(), 0.0f);
  uint64_t random = state_.random;
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
  double squares = 0;
  for (float g : gradient_storage_) squares += double(g) * g;
  result.gradient_norm = std::sqrt(squares);
  result.applied = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
  if (result.applied) {
    state_.random = random;
    apply(rate, result.gradient_norm);
  }
  return result;
}

void Trainer::apply(double rate, double norm) {
  if (options_.clip > 0 && norm > options_.clip) {
    const float factor = static_cast<float>(options_.clip / norm);
    for (float& g : gradient_storage_) g *= factor;
  }
  AdamOptions adam = options_.adam;
  adam.rate = rate;
  const int64_t step = ++state_.steps;
  const float pull = static_cast<float>(1 - std::min(options_.decay, (1.0 + double(step)) / (10.0 + double(step))));
  for (const auto& [name, gradient] : gradients_) {
    const int64_t at = gradient.data - gradient_storage_.data(), count = size_of(gradient);
    float *weight = state_.parameters.data() + at, *average = state_.averages.data() + at;
    adam_step(adam, step, count, gradient.data, state_.first.data() + at, state_.second.data() + at, weight);
    for (int64_t i = 0; i < count; ++i)
      average[i] = options_.decay == 0 ? weight[i] : average[i] + pull * (weight[i] - average[i]);
  }
}

TrainerState Trainer::state() const {
  std::lock_guard lock(turn_);
  return state_;
}

Status Trainer::restore(const TrainerState& state) {
  std::lock_guard lock(turn_);
  const size_t expected = state_.parameters.size();
  for (const std::vector<float>* part : {&state.parameters, &state.averages, &state.first, &state.second})
    if (part->size() != expected)
      return invalid_argument("state: expected " + std::to_string(expected) + " values of every kind, not " +
                              std::to_string(part->size()) + ".");
  // Copied in place: parameters_ points at the values.
  std::copy(state.parameters.begin(), state.parameters.end(), state_.parameters.begin());
  state_.averages = state.averages;
  state_.first = state.first;
  state_.second = state.second;
  state_.steps = state.steps;
  state_.random = state.random;
  return {};
}

}  // namespace smhdr
