#include "smhdr/trainer.h"

#include <algorithm>
#include <cmath>
#include <future>

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
  if (!(options.own_weight >= 0)) return refuse("ownWeight", "0 or more", options.own_weight);
  if (!(options.gate_weight >= 0)) return refuse("gateWeight", "0 or more", options.gate_weight);
  if (!(options.perceptual_weight >= 0)) return refuse("perceptualWeight", "0 or more", options.perceptual_weight);
  return {};
}

}  // namespace

/// The network on one device, with what a step changes: values of every parameter one after the other.
struct Trainer::Replica {
  std::unique_ptr<Ops> ops, host_ops;  // host_ops: for VGG-19's features, where ops are another device's
  int64_t total = 0;
  Buffer parameters, averages, first, second, gradients;
  struct Range {
    int64_t at, count;
  };
  std::vector<Range> trained;
  ParameterMap weights, weight_gradients;  // views of parameters and gradients

  Memory& memory() const { return ops->memory(); }

  Status create(const ParameterMap& from, const NetworkConfig& config, const std::vector<std::string>& prefixes) {
    Memory& device = memory();
    device.enter();
    total = config.parameter_count();
    parameters = Buffer(device, total);
    averages = Buffer(device, total);
    first = zeros(device, total);
    second = zeros(device, total);
    gradients = zeros(device, total);
    if (!(parameters && averages && first && second && gradients))
      return Error{ErrorCode::out_of_memory, "Not enough memory for the parameters and what Adam keeps of them."};
    int64_t at = 0;
    for (const auto& [name, shape] : config.parameter_shapes()) {
      const Parameter& values = from.at(name);
      const int64_t count = values.size();
      device.upload(values.data, parameters.data() + at, count);
      weights[name] = {shape, parameters.data() + at};
      const std::string& own = name;  // clang captures no structured binding before its version 16
      if (prefixes.empty() || std::any_of(prefixes.begin(), prefixes.end(),
                                          [&](const std::string& prefix) { return own.starts_with(prefix); })) {
        weight_gradients[name] = {shape, gradients.data() + at};
        if (!trained.empty() && trained.back().at + trained.back().count == at)
          trained.back().count += count;
        else
          trained.push_back({at, count});
      }
      at += count;
    }
    device.copy(parameters.data(), averages.data(), total);
    return device.synchronize();
  }
};

Result<std::unique_ptr<Trainer>> Trainer::create(const ParameterMap& parameters, const TrainerOptions& options,
                                                 std::shared_ptr<ThreadPool> pool, const std::string& device) {
  auto ops = make_every_ops(device, *pool, options.precision);
  if (!ops.ok()) return ops.error();
  return create(parameters, options, std::move(ops.value()), std::move(pool));
}

Result<std::unique_ptr<Trainer>> Trainer::create(const ParameterMap& parameters, const TrainerOptions& options,
                                                 std::unique_ptr<Ops> device, std::shared_ptr<ThreadPool> pool) {
  std::vector<std::unique_ptr<Ops>> devices;
  devices.push_back(std::move(device));
  return create(parameters, options, std::move(devices), std::move(pool));
}

Result<std::unique_ptr<Trainer>> Trainer::create(const ParameterMap& parameters, const TrainerOptions& options,
                                                 std::vector<std::unique_ptr<Ops>> devices,
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
  for (const auto& [name, shape] : shapes) {
    const Parameter& from = parameters.at(name);
    if (!std::all_of(from.data, from.data + from.size(), [](float v) { return std::isfinite(v); }))
      return invalid_argument("weights: " + name + " holds values that are not finite.");
  }

  trainer->pool_ = std::move(pool);
  trainer->random_ = options.seed;
  for (std::unique_ptr<Ops>& ops : devices) {
    auto replica = std::make_unique<Replica>();
    replica->ops = std::move(ops);
    if (trainer->vgg_ && !replica->memory().on_host()) replica->host_ops = make_cpu_ops(*trainer->pool_);
    if (Status status = replica->create(parameters, trainer->config_, options.trained); !status.ok())
      return status.error();
    trainer->replicas_.push_back(std::move(replica));
  }
  return trainer;
}

Trainer::~Trainer() = default;

std::string Trainer::device() const {
  const std::string name = replicas_.front()->ops->name();
  return replicas_.size() == 1 ? name : std::to_string(replicas_.size()) + " x " + name;
}

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

double Trainer::vgg_loss(Replica& replica, ConstTensor prediction, ConstTensor truth, const float* weights,
                         Tensor grad) const {
  Memory& memory = replica.memory();
  const OnHost p(memory, prediction.data, prediction.size()), t(memory, truth.data, truth.size()),
      w(memory, weights, truth.pixels()), g(memory, grad.data, grad.size(), true);
  prediction.data = p.data();
  truth.data = t.data();
  grad.data = g.data();
  Ops& ops = replica.host_ops ? *replica.host_ops : *replica.ops;
  return (*vgg_)(ops, prediction, truth, w.data(), options_.perceptual_weight, grad);
}

Status Trainer::accumulate(Replica& replica, const TrainingBatch& piece, std::vector<float> keep, double share,
                           StepResult& sums, const Progress* progress) const {
  const ConstTensor& shape = piece.truth;
  Ops& ops = *replica.ops;
  Memory& memory = replica.memory();
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
  if (Status status = forward(config_, replica.weights, ops, input, out, nullptr, progress, &tape); !status.ok())
    return status;
  const auto loss_of = [&](ConstTensor prediction, Tensor gradient) {
    const double pixel = ops.mu_law_loss(prediction, truth, weights, options_.squared_weight, gradient);
    double perceptual = 0;
    if (vgg_)
      perceptual = vgg_loss(replica, prediction, truth, weights, gradient);
    else if (options_.perceptual == Perceptual::structure)
      perceptual = ops.structure_loss(prediction, truth, weights, options_.perceptual_weight, gradient);
    return std::pair{share * pixel, share * perceptual};
  };
  const auto [pixel, perceptual] = loss_of(out, grad);
  sums.pixel_loss += pixel;
  sums.perceptual_loss += perceptual;
  if (share != 1) ops.scale(grad.data, grad.size(), static_cast<float>(share));
  Buffer own_result, grad_own_result;
  if (config_.prior && options_.own_weight > 0) {
    own_result = Buffer(memory, shape.size());
    grad_own_result = Buffer(memory, shape.size());
    if (!own_result || !grad_own_result)
      return Error{ErrorCode::out_of_memory, "Not enough memory for the batch; use a smaller one."};
    const Tensor own{own_result.data(), shape.batch, shape.height, shape.width, 3},
        grad_own{grad_own_result.data(), shape.batch, shape.height, shape.width, 3};
    ops.prior({tape.at("logits"), input.exposures.back(), own, 0});
    const auto [own_pixel, own_perceptual] = loss_of(own, grad_own);
    sums.own_loss += own_pixel + options_.perceptual_weight * own_perceptual;
    ops.scale(grad_own.data, grad_own.size(), static_cast<float>(share * options_.own_weight));
    input.own = own;
    input.grad_own = grad_own;
  }
  if (config_.prior && options_.gate_weight > 0) {
    const Buffer gates(memory, shape.pixels());
    if (!gates) return Error{ErrorCode::out_of_memory, "Not enough memory for the batch; use a smaller one."};
    const int pixels = static_cast<int>(shape.pixels());
    const Lattice from{const_cast<float*>(tape.at("logits").data) + 3, 0, 0, 4}, to{gates.data(), 0, 0, 1};
    ops.copy_pixels({from, to, 1, 1, pixels, 1});
    sums.gate_loss += share * ops.squared_norm(gates.data(), pixels) / 2 / pixels;
    input.gate_pull = static_cast<float>(share * options_.gate_weight / pixels);
  }
  return backward(config_, replica.weights, ops, input, tape, out, grad, replica.weight_gradients);
}

Status Trainer::accumulate_range(Replica& replica, const TrainingBatch& batch, int begin, int end,
                                 const std::vector<float>& keep, StepResult& sums, const Progress* progress) const {
  const ConstTensor& truth = batch.truth;
  replica.memory().enter();
  replica.memory().fill(replica.gradients.data(), 0, replica.total);
  const int64_t area = int64_t{truth.height} * truth.width;
  const int most = images_at_once(config_, area, options_.tape_bytes);
  for (int first = begin; first < end; first += most) {
    const int count = std::min(most, end - first);
    TrainingBatch piece;
    for (const ConstTensor& exposure : batch.exposures) piece.exposures.push_back(images(exposure, first, count));
    piece.truth = images(truth, first, count);
    piece.weights = batch.weights ? batch.weights + first * area : nullptr;
    piece.mask = batch.mask;
    if (piece.mask.map) piece.mask.map += first * area;
    std::vector<float> own;
    for (size_t row = 0; row < keep.size(); row += truth.batch)
      own.insert(own.end(), keep.begin() + row + first, keep.begin() + row + first + count);
    const Status status = accumulate(replica, piece, std::move(own), double(count) / truth.batch, sums, progress);
    if (!status.ok()) return status;
    if (progress && progress->stop()) return Error{ErrorCode::cancelled, "Cancelled."};
  }
  return replica.memory().synchronize();
}

/// Gives every device the sum of all, in their order. It goes through the host: some megabytes a step, which take less
/// than a thousandth of what the step takes.
Status Trainer::sum_gradients() {
  if (replicas_.size() == 1) return {};
  const int64_t total = replicas_[0]->total;
  std::vector<float> sum(total), part(total);
  for (const auto& replica : replicas_) {
    replica->memory().enter();
    replica->memory().download(replica->gradients.data(), part.data(), total);
    for (int64_t i = 0; i < total; ++i) sum[i] += part[i];
  }
  for (const auto& replica : replicas_) {
    replica->memory().enter();
    replica->memory().upload(sum.data(), replica->gradients.data(), total);
    if (Status status = replica->memory().synchronize(); !status.ok()) return status;
  }
  return {};
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
  uint64_t random = random_;
  const std::vector<float> keep = draw_keep(truth.batch, random);
  const int devices = static_cast<int>(replicas_.size());
  std::vector<StepResult> sums(devices);
  std::vector<Status> statuses(devices);
  const auto work = [&](int k, const Progress* watched) {
    const int begin = k * truth.batch / devices, end = (k + 1) * truth.batch / devices;
    statuses[k] = accumulate_range(*replicas_[k], batch, begin, end, keep, sums[k], watched);
  };
  {
    // One thread a device; only the caller's reports. The futures wait for theirs.
    const Progress silent{{}, progress ? progress->cancelled : nullptr};
    std::vector<std::future<void>> others;
    for (int k = 1; k < devices; ++k)
      others.push_back(std::async(std::launch::async, [&work, &silent, k] { work(k, &silent); }));
    work(0, progress);
  }
  for (const Status& status : statuses)
    if (!status.ok()) return status.error();
  StepResult result;
  for (const StepResult& part : sums) {
    result.pixel_loss += part.pixel_loss;
    result.perceptual_loss += part.perceptual_loss;
    result.own_loss += part.own_loss;
    result.gate_loss += part.gate_loss;
  }
  if (Status status = sum_gradients(); !status.ok()) return status.error();
  result.loss = result.pixel_loss + options_.perceptual_weight * result.perceptual_loss +
                options_.own_weight * result.own_loss + options_.gate_weight * result.gate_loss;
  Replica& first = *replicas_[0];
  first.memory().enter();
  // A frozen parameter's gradient is 0.
  result.gradient_norm = std::sqrt(first.ops->squared_norm(first.gradients.data(), first.total));
  if (Status status = first.memory().synchronize(); !status.ok()) return status.error();
  result.applied = std::isfinite(result.loss) && std::isfinite(result.gradient_norm);
  if (result.applied) {
    random_ = random;
    ++steps_;
    for (const auto& replica : replicas_) {
      replica->memory().enter();
      apply(*replica, rate, result.gradient_norm);
      if (Status status = replica->memory().synchronize(); !status.ok()) return status.error();
    }
  }
  return result;
}

void Trainer::apply(Replica& replica, double rate, double norm) const {
  if (options_.clip > 0 && norm > options_.clip)
    replica.ops->scale(replica.gradients.data(), replica.total, static_cast<float>(options_.clip / norm));
  AdamArgs args{options_.adam, steps_, 0, nullptr, nullptr, nullptr, nullptr};
  args.options.rate = rate;
  const double step = double(steps_);
  args.pull = static_cast<float>(1 - std::min(options_.decay, (1 + step) / (10 + step)));
  for (const auto& [at, count] : replica.trained) {
    args.count = count;
    args.gradient = replica.gradients.data() + at;
    args.first = replica.first.data() + at;
    args.second = replica.second.data() + at;
    args.parameter = replica.parameters.data() + at;
    args.average = replica.averages.data() + at;
    replica.ops->adam_step(args);
  }
}

TrainerState Trainer::state() const {
  std::lock_guard lock(turn_);
  const Replica& one = *replicas_[0];  // they are all the same
  one.memory().enter();
  TrainerState state{steps_, random_, {}, {}, {}, {}};
  const auto read = [&](const Buffer& from, std::vector<float>& to) {
    to.resize(one.total);
    one.memory().download(from.data(), to.data(), one.total);
  };
  read(one.parameters, state.parameters);
  read(one.averages, state.averages);
  read(one.first, state.first);
  read(one.second, state.second);
  return state;
}

Status Trainer::restore(const TrainerState& state) {
  std::lock_guard lock(turn_);
  const size_t expected = replicas_[0]->total;
  for (const std::vector<float>* part : {&state.parameters, &state.averages, &state.first, &state.second})
    if (part->size() != expected)
      return invalid_argument("state: expected " + std::to_string(expected) + " values of every kind, not " +
                              std::to_string(part->size()) + ".");
  steps_ = state.steps;
  random_ = state.random;
  for (const auto& replica : replicas_) {
    replica->memory().enter();
    const auto write = [&](const std::vector<float>& from, const Buffer& to) {
      replica->memory().upload(from.data(), to.data(), replica->total);
    };
    write(state.parameters, replica->parameters);
    write(state.averages, replica->averages);
    write(state.first, replica->first);
    write(state.second, replica->second);
    if (Status status = replica->memory().synchronize(); !status.ok()) return status;
  }
  return {};
}

}  // namespace smhdr
