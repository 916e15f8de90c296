// A model held ready to run: its own copy of the weights, its configuration, and a device's ops.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "smhdr/network.h"
#include "smhdr/precision.h"
#include "smhdr/thread_pool.h"

namespace smhdr {

class Session {
 public:
  /// Copies `parameters`; the error names the parameter that is missing or does not fit. `device` is a name that
  /// make_ops (ops/devices.h) takes. Unsupported: there is no such device, or bf16 on one without it.
  static Result<std::unique_ptr<Session>> create(const ParameterMap& parameters, std::shared_ptr<ThreadPool> pool,
                                                 Precision precision = Precision::fp32,
                                                 const std::string& device = "cpu");
  /// On the device of `ops`; `pool` is one that they use, if they do.
  static Result<std::unique_ptr<Session>> create(const ParameterMap& parameters, std::unique_ptr<Ops> ops,
                                                 std::shared_ptr<ThreadPool> pool = nullptr);
  ~Session();

  const NetworkConfig& config() const { return config_; }
  /// The instruction set or device the ops run on.
  const char* device() const;
  bool on_host() const;
  /// Bytes that the device could still give; -1: not known, or the host's.
  int64_t available_memory();
  /// See forward() in network.h, but all tensors are the host's. Concurrent calls take turns; on a device the copies of
  /// one hide behind the work of another. Out of memory on a device: the session can go on with smaller pictures.
  Status run(const ForwardInput& input, Tensor out, const struct Progress* progress = nullptr);
  /// Gives back what the last runs left for the next: the host's memory, where they shared sums, as tiles of a picture
  /// do.
  void forget();

 private:
  Session() = default;
  Status run_on_device(const ForwardInput& input, Tensor out, const struct Progress* progress, class Staging& staging);
  /// For a pass over so many exposures. With the turn.
  const class Composed* compose(int exposures);
  NetworkConfig config_;
  std::shared_ptr<ThreadPool> pool_;  // outlives the ops, and they what they hold
  std::unique_ptr<Ops> ops_;
  std::unique_ptr<class Buffer> storage_;  // of the parameters
  ParameterMap parameters_;
  std::unique_ptr<class Composed> composed_;  // for the last run's number of exposures
  std::unique_ptr<class KeptMemory> kept_;
  std::mutex turn_;
  std::vector<std::unique_ptr<class Staging>> stagings_;  // none on the host
  std::vector<class Staging*> idle_;                      // with idle_turn_
  std::mutex idle_turn_;
  std::condition_variable given_back_;
};

}  // namespace smhdr
