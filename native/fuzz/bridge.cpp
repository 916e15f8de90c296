// libFuzzer for JavaScript: libFuzzer's own loop runs in a thread, hands every input to the main thread's event loop
// and waits for its verdict. Coverage comes from code that test/fuzz/instrument.ts has given counters; they are
// registered with libFuzzer like those that clang makes. (The approach of Jazzer.js, whose package needs a download.)
#include <node_api.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

extern "C" {
int LLVMFuzzerRunDriver(int* argc, char*** argv, int (*callback)(const uint8_t* data, size_t size));
void __sanitizer_cov_8bit_counters_init(uint8_t* begin, uint8_t* end);
void __sanitizer_cov_pcs_init(const uintptr_t* begin, const uintptr_t* end);
void __sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b);
void __sanitizer_weak_hook_strcmp(void* caller, const char* a, const char* b, int result);
}

namespace {

constexpr size_t kCounters = 1 << 15;
uint8_t counters[kCounters];
uintptr_t positions[2 * kCounters];  // libFuzzer wants an address and flags for every counter

/// libFuzzer tells comparisons apart by the address they are reported from: so many different ones.
constexpr size_t kSites = 1024;
template <size_t kSite>
[[gnu::noinline]] void report(uint64_t a, uint64_t b) {
  __sanitizer_cov_trace_cmp8(a, b);
  asm volatile("" ::"i"(kSite));  // neither folded with its likes nor a tail call
}
template <size_t... kSite>
constexpr auto make_sites(std::index_sequence<kSite...>) {
  return std::array<void (*)(uint64_t, uint64_t), sizeof...(kSite)>{report<kSite>...};
}
constexpr auto sites = make_sites(std::make_index_sequence<kSites>{});

struct Input {
  const uint8_t* data;
  size_t size;
};

std::mutex mutex;
std::condition_variable answered;
bool done = false, failed = false;
std::string failure;
napi_threadsafe_function deliver;
int patience = 20;

int run_input(const uint8_t* data, size_t size) {
  std::unique_lock lock(mutex);
  done = failed = false;
  Input input{data, size};
  napi_call_threadsafe_function(deliver, &input, napi_tsfn_blocking);
  // libFuzzer's alarm must come to this thread to be heeded: it then keeps the input as a timeout.
  while (!answered.wait_for(lock, std::chrono::seconds(patience + 1), [] { return done; })) raise(SIGALRM);
  if (failed) {
    std::fprintf(stderr, "\n==FAILED== %s\n", failure.c_str());
    std::abort();  // libFuzzer keeps the input as a crash
  }
  return 0;
}

void call_javascript(napi_env env, napi_value function, void*, void* data) {
  const auto* input = static_cast<Input*>(data);
  napi_value buffer, undefined;
  if (env == nullptr) return;
  napi_create_buffer_copy(env, input->size, input->data, nullptr, &buffer);
  napi_get_undefined(env, &undefined);
  napi_call_function(env, undefined, function, 1, &buffer, nullptr);
}

template <size_t kCount>
std::array<napi_value, kCount> arguments(napi_env env, napi_callback_info info) {
  std::array<napi_value, kCount> values;
  size_t count = kCount;
  napi_get_cb_info(env, info, &count, values.data(), nullptr, nullptr);
  return values;
}

std::string text(napi_env env, napi_value value) {
  size_t length = 0;
  napi_get_value_string_utf8(env, value, nullptr, 0, &length);
  std::string out(length, '\0');
  napi_get_value_string_utf8(env, value, out.data(), length + 1, &length);
  return out;
}

/// counterArray(): the counters, to be counted up by instrumented code.
napi_value counter_array(napi_env env, napi_callback_info) {
  napi_value buffer;
  napi_create_external_arraybuffer(env, counters, kCounters, nullptr, nullptr, &buffer);
  return buffer;
}

/// start(arguments, patience, used, onInput): runs libFuzzer; the process ends with it.
napi_value start(napi_env env, napi_callback_info info) {
  const auto [list, seconds, used, on_input] = arguments<4>(env, info);
  uint32_t length = 0, in_use = 0;
  napi_get_array_length(env, list, &length);
  napi_get_value_int32(env, seconds, &patience);
  napi_get_value_uint32(env, used, &in_use);
  static std::vector<std::string> words;
  for (uint32_t i = 0; i < length; ++i) {
    napi_value word;
    napi_get_element(env, list, i, &word);
    words.push_back(text(env, word));
  }
  napi_value name;
  napi_create_string_utf8(env, "fuzz", NAPI_AUTO_LENGTH, &name);
  napi_create_threadsafe_function(env, on_input, nullptr, name, 1, 1, nullptr, nullptr, nullptr, call_javascript,
                                  &deliver);
  for (size_t i = 0; i < in_use; ++i) positions[2 * i] = i + 1;
  __sanitizer_cov_8bit_counters_init(counters, counters + in_use);
  __sanitizer_cov_pcs_init(positions, positions + 2 * in_use);
  on_exit([](int status, void*) { _exit(status); }, nullptr);  // while other threads run: nothing is to be destroyed
  std::thread([] {
    static std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    int argc = int(words.size());
    char** argv = pointers.data();
    std::exit(LLVMFuzzerRunDriver(&argc, &argv, run_input));
  }).detach();
  return nullptr;
}

/// finished(failure?): the verdict on the last input.
napi_value finished(napi_env env, napi_callback_info info) {
  const auto [message] = arguments<1>(env, info);
  napi_valuetype type;
  napi_typeof(env, message, &type);
  std::lock_guard lock(mutex);
  failed = type == napi_string;
  if (failed) failure = text(env, message);
  done = true;
  answered.notify_one();
  return nullptr;
}

/// compared(site, a, b): two whole numbers.
napi_value compared(napi_env env, napi_callback_info info) {
  const auto [site, a, b] = arguments<3>(env, info);
  uint32_t at = 0;
  int64_t x = 0, y = 0;
  napi_get_value_uint32(env, site, &at);
  napi_get_value_int64(env, a, &x);
  napi_get_value_int64(env, b, &y);
  sites[at % kSites](uint64_t(x), uint64_t(y));
  return nullptr;
}

/// comparedText(site, a, b): two different pieces of text.
napi_value compared_text(napi_env env, napi_callback_info info) {
  const auto [site, a, b] = arguments<3>(env, info);
  uint32_t at = 0;
  napi_get_value_uint32(env, site, &at);
  __sanitizer_weak_hook_strcmp(reinterpret_cast<void*>(uintptr_t(at) + 1), text(env, a).c_str(), text(env, b).c_str(),
                               1);
  return nullptr;
}

napi_value init(napi_env env, napi_value exports) {
  const std::pair<const char*, napi_callback> functions[] = {{"counterArray", counter_array},
                                                             {"start", start},
                                                             {"finished", finished},
                                                             {"compared", compared},
                                                             {"comparedText", compared_text}};
  for (const auto& [name, function] : functions) {
    napi_value value;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    napi_set_named_property(env, exports, name, value);
  }
  return exports;
}

}  // namespace

NAPI_MODULE(smhdr_fuzz, init)
