#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace concertina::testing {

// Writes a small GGUF file (version 3, f32 tensors) for tests of its readers' users.
class GgufWriter {
 public:
  void AddString(const std::string& key, const std::string& value);
  void AddUint(const std::string& key, uint32_t value);
  void AddFloat(const std::string& key, float value);
  // shape: outermost first.
  void AddTensor(const std::string& name, const std::vector<int64_t>& shape,
                 const std::vector<float>& values);

  // Returns false when the file cannot be written.
  bool Write(const std::string& path) const;

 private:
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
    std::vector<float> values;
  };
  void AddKey(const std::string& key, uint32_t type);

  std::string metadata_;
  uint64_t metadata_count_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace concertina::testing
