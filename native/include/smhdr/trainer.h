// Training: owns a network's parameters and all that a step changes.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "smhdr/network.h"
#include "smhdr/precision.h"
#include "smhdr/thread_pool.h"
#include "smhdr/training.h"

namespace smhdr {

/// Values of every parameter in the order of NetworkConfig::parameter_shapes(), drawn from a seed by method.md section
/// 2: linear weights and bias tables normal with standard deviation 0.02 (cut at +-2, as PyTorch's trunc_normal_ does),
/// their biases 0, LayerNorm 1 and 0, convolutions and their biases uniform in +-1 / sqrt(fan in).
std::vector<float> initial_weights(const NetworkConfig& config, uint64_t seed);

enum class Perceptual { none, structure, vgg };

struct TrainerOptions {
  AdamOptions adam;  // its rate is not used: every step brings its own
  /// Weight averages: average += (1 - d) (weight - average) with d the smaller of `decay` and (1 + t) / (10 + t) at
  /// step t, so that a short run forgets its beginning too. 0: the average is the weight.
  double decay = 0.999;
  double clip = 0;         // longest gradient, the norm over all trained parameters; 0: no limit
  double drop_path = 0.1;  // rate at the last block; it rises linearly from 0 at the first
  /// Names begin with one of these: trained. Others are frozen and cost no weight gradient. Empty: all are trained.
  std::vector<std::string> trained;
  double squared_weight = 0;  // see mu_law_loss
  /// It times the loss of the network's own radiance, the prior left out, is added: it learns what the scene is even
  /// where it is not asked.
  double own_weight = 0;
  /// Half of it times the mean square of the logits of a prior's gate is added to the loss: a gate that is open
  /// everywhere leaves the network nothing to learn from.
  double gate_weight = 0;
  Perceptual perceptual = Perceptual::none;
  double perceptual_weight = 0.005;
  ParameterMap vgg;   // for Perceptual::vgg; copied
  uint64_t seed = 0;  // of stochastic depth
  /// Of the devices that create() makes. bf16: what it is for inference, and on a processor's matrix unit the
  /// gradients' products too; weights, their averages and Adam stay fp32.
  Precision precision = Precision::fp32;
  /// A batch is worked in as many pieces as keep what the backward pass needs under this; it is for a machine's memory,
  /// and changes results only in their last bits.
  int64_t tape_bytes = int64_t{1} << 30;
};

struct TrainingBatch {
  std::vector<ConstTensor> exposures;  // see ForwardInput
  ConstTensor truth;                   // [batch, height, width, 3], radiance
  const float* weights = nullptr;      // loss weights [batch, height, width]; null: 1
  MaskOptions mask;
};

struct StepResult {
  /// loss = pixel_loss + perceptual_weight * perceptual_loss + own_weight * own_loss + gate_weight * gate_loss
  double loss = 0, pixel_loss = 0, perceptual_loss = 0, own_loss = 0, gate_loss = 0;
  double gradient_norm = 0;  // before clipping
  /// False: loss or gradient were not finite and nothing was changed.
  bool applied = false;
};

/// All that decides how training goes on; vectors are in the order of parameter_shapes().
struct TrainerState {
  int64_t steps = 0;
  uint64_t random = 0;
  std::vector<float> parameters, averages, first, second;
};

class Trainer {
 public:
  /// Copies `parameters`; an error names the parameter or option that is missing or does not fit. `device` is a name
  /// that make_every_ops (ops/devices.h) takes.
  static Result<std::unique_ptr<Trainer>> create(const ParameterMap& parameters, const TrainerOptions& options,
                                                 std::shared_ptr<ThreadPool> pool, const std::string& device = "cpu");
  /// On the devices of these ops, one or more, which share every batch; their number changes results in the last bits
  /// only. `pool` is the host's, for what no device has ops for: VGG-19's features.
  static Result<std::unique_ptr<Trainer>> create(const ParameterMap& parameters, const TrainerOptions& options,
                                                 std::vector<std::unique_ptr<Ops>> devices,
                                                 std::shared_ptr<ThreadPool> pool);
  static Result<std::unique_ptr<Trainer>> create(const ParameterMap& parameters, const TrainerOptions& options,
                                                 std::unique_ptr<Ops> device, std::shared_ptr<ThreadPool> pool);
  ~Trainer();

  const NetworkConfig& config() const { return config_; }
  std::string device() const;

  /// One step of Adam on the batch, whose tensors are the host's. The result does not depend on the number of threads.
  /// Stopped or failed, a step changes nothing, the random state included.
  Result<StepResult> step(const TrainingBatch& batch, double rate, const struct Progress* progress = nullptr);

  /// Copied from the device. After a failure of the device it may hold NaN.
  TrainerState state() const;
  /// Goes on where `state` was taken: the same steps then give the same bits.
  Status restore(const TrainerState& state);

 private:
  struct Replica;
  Trainer() = default;
  std::vector<float> draw_keep(int batch, uint64_t& random) const;
  /// Adds the gradients of one piece of a batch, which is `share` of it.
  Status accumulate(Replica& replica, const TrainingBatch& piece, std::vector<float> keep, double share,
                    StepResult& sums, const struct Progress* progress) const;
  /// A device's images, as many pieces as its tape allows.
  Status accumulate_range(Replica& replica, const TrainingBatch& batch, int begin, int end,
                          const std::vector<float>& keep, StepResult& sums, const struct Progress* progress) const;
  Status sum_gradients();
  double vgg_loss(Replica& replica, ConstTensor prediction, ConstTensor truth, const float* weights, Tensor grad) const;
  void apply(Replica& replica, double rate, double norm) const;

  NetworkConfig config_;
  TrainerOptions options_;
  std::shared_ptr<ThreadPool> pool_;
  std::optional<VggLoss> vgg_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  int64_t steps_ = 0;
  uint64_t random_ = 0;
  mutable std::mutex turn_;
};

}  // namespace smhdr
