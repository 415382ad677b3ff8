#pragma once

#include <cstdint>
#include <memory>
#include <semaphore>
#include <span>
#include <string>

#include "models/bundle/model.h"
#include "models/image/decode.h"
#include "server/metrics/rpc_metrics.h"
#include "server/rpc/images/image_store.h"
#include "server/rpc/limits.h"
#include "server/rpc/parse/parts.h"

namespace concertina {

// Checks, decodes and preprocesses pictures for one model, through the store. Thread-safe; blocks
// the calling (gRPC) thread, at most `limits.max_decoders` at a time: that bounds the memory of
// decoding.
class ImageLoader final : public ImageResolver {
 public:
  // `model`, `store` and `metrics` must outlive this object.
  ImageLoader(const Model& model, const RpcLimits& limits, ImageStore& store, RpcMetrics& metrics);

  // FAILED_PRECONDITION NO_VISION: a text model. NOT_FOUND IMAGE_NOT_FOUND: no such reference.
  // INVALID_ARGUMENT: not a picture we take.
  absl::StatusOr<std::shared_ptr<const PreparedImage>> Resolve(const v1::Image& image,
                                                               std::string_view field) override;

  struct Uploaded {
    std::string sha256;
    int64_t bytes = 0;
    int32_t width = 0;
    int32_t height = 0;
  };
  // Keeps a file under its hash; decodes it at once, so that a bad one is refused here.
  absl::StatusOr<Uploaded> Upload(std::string file, std::string_view field);

  // FAILED_PRECONDITION NO_VISION unless the model takes pictures.
  absl::Status CheckVision() const;

 private:
  absl::StatusOr<StoredImage> Load(const std::string& sha256,
                                   std::shared_ptr<const std::string> file, std::string_view field);
  absl::StatusOr<std::shared_ptr<const PreparedImage>> Prepare(const std::string& sha256,
                                                               std::span<const uint8_t> file) const;

  const Model& model_;
  const RpcLimits limits_;
  ImageStore& store_;
  RpcMetrics& metrics_;
  mutable std::counting_semaphore<> decoders_;
};

// Lower-case hexadecimal SHA-256.
std::string Sha256Hex(std::string_view bytes);

}  // namespace concertina
