#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "server/engine/requests.h"

namespace concertina {

// A picture somebody sent. The file is kept so that the pixels, several times its size, can be
// dropped first and made again.
struct StoredImage {
  std::shared_ptr<const std::string> file;  // as sent
  int32_t width = 0;                        // as stored in the file
  int32_t height = 0;
  std::shared_ptr<const PreparedImage> prepared;  // nullable
};

// Pictures by the SHA-256 of their file, least recently used ones dropped beyond a number of bytes.
// Thread-safe. What callers hold stays alive but is no longer counted here once dropped.
class ImageStore {
 public:
  // REQUIRES: capacity_bytes >= 0.
  explicit ImageStore(int64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  // Stores or replaces. False if the file alone is larger than the capacity: it is then not kept.
  bool Put(const std::string& sha256, StoredImage image);

  // Marks the picture as just used.
  std::optional<StoredImage> Get(const std::string& sha256);

  // Files and pixels.
  int64_t bytes() const;
  int64_t images() const;

 private:
  struct Node {
    std::string sha256;
    StoredImage image;
  };
  using Order = std::list<Node>;  // most recently used first

  void Erase(Order::iterator node);
  void Shrink();

  const int64_t capacity_bytes_;
  mutable std::mutex mutex_;
  Order order_;
  std::unordered_map<std::string, Order::iterator> by_sha256_;
  int64_t bytes_ = 0;
};

}  // namespace concertina
