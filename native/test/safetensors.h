// Reads a safetensors file for tests: 8-byte little-endian header length, JSON header, raw data. The header's JSON is
// scanned for what these files hold ("name":{"dtype":"F32","shape":[...],"data_offsets":[a,b]}), nothing more.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace smhdr::test {

struct StoredTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

inline std::vector<int64_t> numbers(const std::string& text, size_t open) {
  std::vector<int64_t> out;
  for (size_t at = open + 1; text[at] != ']';) {
    char* end;
    if (text[at] == ',' || text[at] == ' ') {
      ++at;
      continue;
    }
    out.push_back(std::strtoll(text.c_str() + at, &end, 10));
    at = static_cast<size_t>(end - text.c_str());
  }
  return out;
}

/// Empty when the file is absent.
inline std::map<std::string, StoredTensor> read_safetensors(const std::string& path) {
  std::map<std::string, StoredTensor> out;
  std::ifstream file(path, std::ios::binary);
  uint64_t length = 0;
  if (!file.read(reinterpret_cast<char*>(&length), 8)) return out;
  std::string header(length, ' ');
  file.read(header.data(), static_cast<std::streamsize>(length));
  for (size_t at = 0; (at = header.find("\"dtype\"", at)) != std::string::npos; ++at) {
    const size_t close = header.rfind('"', header.rfind(':', at)), open = header.rfind('"', close - 1);
    const std::string name = header.substr(open + 1, close - open - 1);
    if (header.compare(header.find(':', at), 6, ":\"F32\"") != 0 &&
        header.find("\"F32\"", at) != header.find('"', header.find(':', at)))
      continue;
    StoredTensor tensor;
    tensor.shape = numbers(header, header.find('[', header.find("\"shape\"", at)));
    const auto range = numbers(header, header.find('[', header.find("\"data_offsets\"", at)));
    tensor.values.resize(static_cast<size_t>(range[1] - range[0]) / 4);
    file.seekg(static_cast<std::streamoff>(8 + length) + range[0]);
    file.read(reinterpret_cast<char*>(tensor.values.data()), range[1] - range[0]);
    out[name] = std::move(tensor);
  }
  return out;
}

/// The folder of reference numbers: SMHDR_GOLDEN, else ../shared/golden, else test/golden.
inline std::string golden_folder() {
  if (const char* set = std::getenv("SMHDR_GOLDEN")) return set;
  if (std::ifstream("../shared/golden/B_weights.safetensors")) return "../shared/golden";
  return "test/golden";
}

}  // namespace smhdr::test
