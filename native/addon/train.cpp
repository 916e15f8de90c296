// The trainer for JS: weights and options in, steps, weights and states out.
#include <memory>
#include <string>

#include "smhdr/trainer.h"
#include "tensors.h"
#include "worker.h"

namespace smhdr::addon {
namespace {

struct TrainerBox {
  std::shared_ptr<Trainer> trainer;
};

std::shared_ptr<Trainer> trainer_of(const Napi::CallbackInfo& info) {
  return info[0].As<Napi::External<TrainerBox>>().Data()->trainer;
}

uint64_t big_integer(const Napi::Value& value) {
  bool lossless;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

/// initialWeights({ width, reduced, mlpRatio, exposureMlpRatio, stages: { blocks, heads }[] }, seed) -> tensors by name
Napi::Value initial_weights_of(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object options = info[0].As<Napi::Object>();
  const auto integer = [](const Napi::Object& from, const char* name) {
    return from.Get(name).As<Napi::Number>().Int32Value();
  };
  NetworkConfig config;
  config.width = integer(options, "width");
  config.reduced = integer(options, "reduced");
  config.mlp_ratio = integer(options, "mlpRatio");
  config.exposure_mlp_ratio = integer(options, "exposureMlpRatio");
  const Napi::Array stages = options.Get("stages").As<Napi::Array>();
  for (uint32_t i = 0; i < stages.Length(); ++i) {
    const Napi::Object stage = stages.Get(i).As<Napi::Object>();
    config.stages.push_back({integer(stage, "blocks"), integer(stage, "heads")});
  }
  return write_tensors(env, config.parameter_shapes(), initial_weights(config, big_integer(info[1])));
}

/// createTrainer(tensors, options, threads, device) -> { handle, stages, device }
Napi::Value create_trainer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const ParameterMap parameters = read_tensors(info[0].As<Napi::Object>());
  const Napi::Object given = info[1].As<Napi::Object>();
  const auto number = [&](const char* name) { return given.Get(name).As<Napi::Number>().DoubleValue(); };
  TrainerOptions options;
  options.adam.beta1 = number("beta1");
  options.adam.beta2 = number("beta2");
  options.adam.epsilon = number("epsilon");
  options.decay = number("decay");
  options.clip = number("clip");
  options.drop_path = number("dropPath");
  options.squared_weight = number("squaredWeight");
  options.own_weight = number("ownWeight");
  options.gate_weight = number("gateWeight");
  options.perceptual_weight = number("perceptualWeight");
  options.tape_bytes = static_cast<int64_t>(number("tapeBytes"));
  options.seed = big_integer(given.Get("seed"));
  if (given.Get("precision").As<Napi::String>().Utf8Value() == "bf16") options.precision = Precision::bf16;
  const Napi::Array trained = given.Get("trained").As<Napi::Array>();
  for (uint32_t i = 0; i < trained.Length(); ++i) options.trained.push_back(trained.Get(i).As<Napi::String>());
  const std::string perceptual = given.Get("perceptual").As<Napi::String>();
  if (perceptual == "structure") options.perceptual = Perceptual::structure;
  if (perceptual == "vgg") {
    options.perceptual = Perceptual::vgg;
    options.vgg = read_tensors(given.Get("vgg").As<Napi::Object>());
  }
  auto created = Trainer::create(parameters, options, shared_pool(info[2].As<Napi::Number>().Int32Value()),
                                 info[3].As<Napi::String>());
  if (!created.ok()) refuse(env, created.error());
  auto* box = new TrainerBox{std::shared_ptr<Trainer>(std::move(created.value()))};
  Napi::Object out = Napi::Object::New(env);
  out.Set("handle", Napi::External<TrainerBox>::New(env, box, [](Napi::Env, TrainerBox* b) { delete b; }));
  out.Set("stages", static_cast<double>(box->trainer->config().stages.size()));
  out.Set("device", box->trainer->device());
  return out;
}

/// trainStep(handle, { exposures, truth, weights?, batch, height, width, rate, maskMode?, maskMap? }) ->
/// task of { loss, pixelLoss, perceptualLoss, ownLoss, gradientNorm, applied }
Napi::Value train_step(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Object options = info[1].As<Napi::Object>();
  const int batch = options.Get("batch").As<Napi::Number>(), height = options.Get("height").As<Napi::Number>(),
            width = options.Get("width").As<Napi::Number>();
  const double rate = options.Get("rate").As<Napi::Number>();
  const int64_t pixels = int64_t{batch} * height * width;
  std::vector<Napi::Value> hold;
  const auto floats = [&](const Napi::Value& value, const char* name, int channels) -> const float* {
    if (!value.IsTypedArray()) refuse(env, invalid_argument(std::string(name) + ": expected a Float32Array."));
    const Napi::Float32Array data = value.As<Napi::Float32Array>();
    if (static_cast<int64_t>(data.ElementLength()) != pixels * channels)
      refuse(env, invalid_argument(std::string(name) + ": expected " + std::to_string(pixels * channels) +
                                   " values, not " + std::to_string(data.ElementLength()) + "."));
    hold.push_back(data);
    return data.Data();
  };
  auto input = std::make_shared<TrainingBatch>();
  const Napi::Array exposures = options.Get("exposures").As<Napi::Array>();
  for (uint32_t i = 0; i < exposures.Length(); ++i)
    input->exposures.push_back({floats(exposures.Get(i), "exposures", 6), batch, height, width, 6});
  input->truth = {floats(options.Get("truth"), "truth", 3), batch, height, width, 3};
  if (options.Get("weights").IsTypedArray()) input->weights = floats(options.Get("weights"), "weights", 1);
  if (options.Get("maskMode").IsArray()) {
    const Napi::Array modes = options.Get("maskMode").As<Napi::Array>();
    for (uint32_t i = 0; i < modes.Length(); ++i)
      input->mask.mode.push_back(modes.Get(i).As<Napi::Number>().Int32Value());
    if (options.Get("maskMap").IsTypedArray()) input->mask.map = floats(options.Get("maskMap"), "maskMap", 1);
  }
  const auto result = std::make_shared<StepResult>();
  return start_task(
      env, hold, env.Undefined(),
      [trainer = trainer_of(info), input, rate, result](const Progress& progress) -> Status {
        auto done = trainer->step(*input, rate, &progress);
        if (!done.ok()) return done.error();
        *result = done.value();
        return {};
      },
      [result](Napi::Env env) -> Napi::Value {
        Napi::Object out = Napi::Object::New(env);
        out.Set("loss", result->loss);
        out.Set("pixelLoss", result->pixel_loss);
        out.Set("perceptualLoss", result->perceptual_loss);
        out.Set("ownLoss", result->own_loss);
        out.Set("gradientNorm", result->gradient_norm);
        out.Set("applied", result->applied);
        return out;
      });
}

const struct {
  const char* name;
  std::vector<float> TrainerState::*values;
} kParts[] = {{"parameters", &TrainerState::parameters},
              {"averages", &TrainerState::averages},
              {"first", &TrainerState::first},
              {"second", &TrainerState::second}};

/// trainerState(handle) -> { steps, random, parameters, averages, first, second: tensors by name }
Napi::Value trainer_state(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto trainer = trainer_of(info);
  const TrainerState state = trainer->state();
  Napi::Object out = Napi::Object::New(env);
  out.Set("steps", static_cast<double>(state.steps));
  out.Set("random", Napi::BigInt::New(env, state.random));
  for (const auto& part : kParts)
    out.Set(part.name, write_tensors(env, trainer->config().parameter_shapes(), state.*part.values));
  return out;
}

/// restoreTrainer(handle, state)
Napi::Value restore_trainer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto trainer = trainer_of(info);
  const Napi::Object given = info[1].As<Napi::Object>();
  TrainerState state;
  state.steps = given.Get("steps").As<Napi::Number>().Int64Value();
  state.random = big_integer(given.Get("random"));
  for (const auto& part : kParts) {
    const ParameterMap tensors = read_tensors(given.Get(part.name).As<Napi::Object>());
    for (const auto& [name, shape] : trainer->config().parameter_shapes()) {
      const auto it = tensors.find(name);
      if (it == tensors.end() || it->second.shape != shape)
        refuse(env, invalid_argument("state: " + std::string(part.name) + "/" + name +
                                     " is missing or has another shape than this network's."));
      int64_t count = 1;
      for (int64_t d : shape) count *= d;
      (state.*part.values).insert((state.*part.values).end(), it->second.data, it->second.data + count);
    }
  }
  if (Status status = trainer->restore(state); !status.ok()) refuse(env, status.error());
  return env.Undefined();
}

}  // namespace

void init_train(Napi::Env env, Napi::Object exports) {
  exports.Set("initialWeights", Napi::Function::New(env, initial_weights_of, "initialWeights"));
  exports.Set("createTrainer", Napi::Function::New(env, create_trainer, "createTrainer"));
  exports.Set("trainStep", Napi::Function::New(env, train_step, "trainStep"));
  exports.Set("trainerState", Napi::Function::New(env, trainer_state, "trainerState"));
  exports.Set("restoreTrainer", Napi::Function::New(env, restore_trainer, "restoreTrainer"));
}

}  // namespace smhdr::addon
