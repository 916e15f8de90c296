// The native benchmark's frame: rows by name, each measured against the peaks of this machine in the same breath.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/machine_meter.h"
#include "ops/ops.h"
#include "timing.h"

namespace smhdr::bench {

struct Options {
  std::string filter;
  std::vector<std::string> rows;  // exactly these, slow or not; empty: what the filter leaves
  bool json = false;
  bool quick = false;  // small pictures and one round: shows that everything runs, measures nothing
  bool full = false;   // also the rows that take many minutes
  int threads = 0;
};

/// How matrix products are computed: what every row of the network and its kernels is measured in.
struct Variant {
  std::string name;
  std::function<std::unique_ptr<Ops>(ThreadPool&)> make_ops;
  std::function<MachineMeter::Sample(MachineMeter&)> peak;
};
/// The one list of them.
std::vector<Variant> variants();

/// One line of the result. Zero means not measured.
struct Row {
  double seconds = 0;
  double flops = 0, bytes = 0;  // of the work, counted from its formula
  double fraction = 0;          // of the peak that binds: the median over the rounds
  const char* bound = "";       // which that is: "arithmetic" or "memory"
  double copy_seconds = 0;      // copying `bytes`
  int64_t memory_bytes = 0;     // peak of the process
  int64_t tape_bytes_per_pixel = 0;
};

class Bench {
 public:
  explicit Bench(const Options& options) : options(options), pool(options.threads), meter(pool) {}

  const Options options;
  ThreadPool pool;
  MachineMeter meter;
  int rounds() const { return options.quick ? 1 : 5; }

  void add(const std::string& name, std::function<Row()> measure, bool slow = false) {
    cases_.push_back({name, std::move(measure), slow});
  }
  /// Prints the names, or measures and prints the rows the filter leaves. The exit code: 2 where it leaves none.
  int list() const;
  int run();

  /// Most memory the process holds while `work` runs, the peaks' own arrays aside.
  int64_t memory_of(const std::function<void()>& work);
  /// Times `work` in turn with the peaks that bind it. `flops` and `bytes` are what it must compute and touch.
  Row against_peaks(const Variant& variant, double flops, double bytes, const std::function<void()>& work);

 private:
  struct Case {
    std::string name;
    std::function<Row()> measure;
    bool slow;
  };
  void print(const std::string& name, const Row& row) const;
  std::vector<Case> cases_;
};

/// The process's largest resident size in bytes.
int64_t peak_memory();

void add_peaks(Bench& bench);
void add_kernels(Bench& bench);
void add_network(Bench& bench);
void add_training(Bench& bench);
void add_radiance_merge(Bench& bench);
void add_motion(Bench& bench);
void add_sampling(Bench& bench);
void add_drift(Bench& bench);
void add_colour_noise(Bench& bench);

/// Answers lines on stdin with training steps; see training_bench.cpp.
int race_training(int argc, char** argv);

}  // namespace smhdr::bench
