// SMNet (method of "Semantic Masking with Curriculum Learning for Robust HDR Image Reconstruction"): its
// configuration, its parameters by their published names, and its forward pass over any device's ops.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "smhdr/status.h"
#include "smhdr/tensor.h"

namespace smhdr {

class Memory;
class Ops;
class Trace;

/// A parameter under its published name, for example "layers.0.residual_group.blocks.1.attn.qkv.weight".
struct Parameter {
  std::vector<int64_t> shape;
  float* data = nullptr;
  int64_t size() const {
    int64_t count = 1;
    for (int64_t d : shape) count *= d;
    return count;
  }
};
using ParameterMap = std::map<std::string, Parameter>;

struct StageConfig {
  int blocks = 0, heads = 0;
};

/// Everything the shapes of the weights determine. Without a learnt fold the number of exposures is not among it: the
/// same body takes any number up to its width (docs/exposures.md).
struct NetworkConfig {
  int width = 0;
  std::vector<StageConfig> stages;
  int mlp_ratio = 2;           // of the masked hybrid attention blocks
  int exposure_mlp_ratio = 4;  // of the inter-exposure channel attention blocks
  int reduced = 0;             // CCA's inner channels, width / 4
  /// A learnt fold: features of fold_exposures exposures enter the slots of a body made for `slots` of them, by the
  /// parameter fold.weight [slots, widest slot, fold_exposures, width] (docs/exposures.md). 0: the published fold, as
  /// many slots as exposures come.
  int slots = 0, fold_exposures = 0;
  /// Pixel by pixel the result is the network's own radiance or a given one, such as a merge without a network, which
  /// comes as one more exposure, the last: conv_end has a fourth output, the gate between them (PriorArgs in
  /// ops/ops.h). The fold is then a learnt one, which takes the prior in. Not of the published method.
  bool prior = false;
  int outputs() const { return prior ? 4 : 3; }  // of conv_end
  /// Which of `inputs` exposures, the prior among them, is the reference.
  int reference(int inputs) const { return (inputs - prior) / 2; }

  /// Reads it off the shapes; an error names the parameter that is missing or does not fit.
  static Result<NetworkConfig> infer(const ParameterMap& parameters);
  /// Every parameter's name and shape, `norm1_y` included.
  std::map<std::string, std::vector<int64_t>> parameter_shapes() const;
  int64_t parameter_count() const;
};

/// How a forward pass masks the first block of each stage (method.md section 3); inference leaves it out.
struct MaskOptions {
  /// Per stage: 0 no mask, 1 the mask map, 2 the importance map. Empty: no mask anywhere.
  std::vector<int> mode;
  const float* map = nullptr;  // [batch, height, width], 1 = keep
};

/// The sums over whole images that a forward pass takes, one vector an op in the order of the pass. Recorded once over
/// a sample of tiles and given to every tile, they keep tiles alike (see ImageSums in ops/ops.h).
struct SharedSums {
  bool recording = true;
  std::vector<std::vector<double>> values;
};

/// Values of a forward pass that its backward pass needs: the inputs of the blocks; what is inside is computed again.
class Tape {
 public:
  Tape();
  ~Tape();
  /// Copies `value` of the device under `name`.
  void keep(Memory& memory, const std::string& name, ConstTensor value);
  ConstTensor at(const std::string& name) const;
  int64_t bytes() const;
  /// Whether something could not be kept.
  bool lacks_memory() const { return lacks_memory_; }

 private:
  struct Kept;
  std::map<std::string, Kept> kept_;
  bool lacks_memory_ = false;
};

struct ForwardInput {
  /// One tensor [batch, height, width, 6] an exposure, shortest first: linearised radiance RGB, then the pixel values
  /// RGB; the prior's, where the network takes one, are mu-law compressed radiance. Height and width are multiples of
  /// 8; all alike.
  std::vector<ConstTensor> exposures;
  MaskOptions mask;            // its map, too, is the device's
  SharedSums* sums = nullptr;  // null: every image its own
  /// Stochastic depth, of the host: factors [block over all stages][attention, MLP][batch], 0 or 1 / (1 - p). Empty:
  /// all 1.
  std::vector<float> keep;
  /// For the backward pass of a network with a prior: this times the gate's logit is added to its gradient.
  float gate_pull = 0;
  /// And its own radiance, the prior left out (share 0), with the gradient of a loss of that; none where empty.
  ConstTensor own = {}, grad_own = {};
};

/// Checks sizes, channel counts and that this width can take this many exposures.
Status check_forward(const NetworkConfig& config, const ForwardInput& input);

/// Bytes of float32 intermediates `forward` allocates for one batch of this size.
int64_t forward_bytes(const NetworkConfig& config, int batch, int height, int width);

// Both passes run on the device of the ops: all tensors and parameters are in ops.memory().

/// out [batch, height, width, 3], radiance in [0, 1]. `parameters` hold every name of config.parameter_shapes().
/// `trace` may be null. Stopping is polled between blocks. `composed`, made of the same parameters
/// (network/composed.h), saves work where there is neither trace nor tape. `kept` holds the intermediates, for the next
/// pass to use again.
Status forward(const NetworkConfig& config, const ParameterMap& parameters, Ops& ops, const ForwardInput& input,
               Tensor out, Trace* trace = nullptr, const struct Progress* progress = nullptr, Tape* tape = nullptr,
               const class Composed* composed = nullptr, class KeptMemory* kept = nullptr);

/// Gradients of a loss, given that of `out` and the tape of the forward pass with the same input. `gradients` hold
/// accumulators like the parameters' to add to; a parameter without one is frozen and costs no weight gradient.
/// `input_gradients`: one tensor like each exposure, overwritten; empty: not wanted.
Status backward(const NetworkConfig& config, const ParameterMap& parameters, Ops& ops, const ForwardInput& input,
                const Tape& tape, ConstTensor out, ConstTensor grad_out, const ParameterMap& gradients,
                const std::vector<Tensor>& input_gradients = {});

}  // namespace smhdr
