#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "models/weights/tensor_source.h"

namespace concertina::testing {

// Tensors made up in memory.
class MemorySource final : public TensorSource {
 public:
  // The tensor's values; it is replaced if the name is taken.
  void Set(const std::string& name, std::vector<int64_t> shape, std::vector<float> values);
  // Pseudo-random values in [-scale, scale] that depend on the name only.
  void SetRandom(const std::string& name, std::vector<int64_t> shape, float scale);
  void Erase(const std::string& name);
  const std::vector<float>& Values(const std::string& name) const;

  const std::vector<TensorInfo>& tensors() const override { return list_; }
  const TensorInfo* Find(std::string_view name) const override;
  absl::Status ReadRows(const TensorInfo& tensor, int64_t begin, int64_t end,
                        float* out) const override;
  void Release(const TensorInfo& tensor) const override { (void)tensor; }

 private:
  struct Entry {
    TensorInfo info;
    std::vector<float> values;
  };
  void UpdateList();

  std::map<std::string, Entry, std::less<>> entries_;
  std::vector<TensorInfo> list_;
};

}  // namespace concertina::testing
