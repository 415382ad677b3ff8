#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace concertina {

// Image features by the picture's SHA-256, least recently used out first. Engine thread only.
class FeatureCache {
 public:
  using Features = std::shared_ptr<const std::vector<float>>;  // [image_tokens, hidden]

  explicit FeatureCache(int64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  Features Find(const std::string& sha256);
  void Insert(const std::string& sha256, Features features);
  int64_t bytes() const { return bytes_; }
  int64_t capacity_bytes() const { return capacity_bytes_; }

 private:
  struct Entry {
    std::string sha256;
    Features features;
  };
  std::list<Entry> recent_;  // front: used last
  std::unordered_map<std::string, std::list<Entry>::iterator> by_hash_;
  int64_t capacity_bytes_;
  int64_t bytes_ = 0;
};

}  // namespace concertina
