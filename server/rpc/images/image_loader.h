#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "models/bundle/model.h"
#include "server/images/image_decoder.h"
#include "server/images/image_store.h"
#include "server/metrics/rpc_metrics.h"
#include "server/rpc/limits.h"
#include "server/rpc/parse/parts.h"

namespace concertina {

// The pictures of requests, through the decoder. Thread-safe; blocks the calling (gRPC) thread.
class ImageLoader final : public ImageResolver {
 public:
  using Uploaded = ImageDecoder::Uploaded;

  // `model`, `store` and `metrics` must outlive this object.
  ImageLoader(const Model& model, const RpcLimits& limits, ImageStore& store, RpcMetrics& metrics)
      : model_(model),
        decoder_(model,
                 {.limits = limits.images,
                  .max_decoders = limits.max_decoders,
                  .on_decoded = [&metrics](double seconds) { metrics.OnImageDecode(seconds); }},
                 store) {}

  absl::StatusOr<std::shared_ptr<const PreparedImage>> Resolve(const v1::Image& image,
                                                               std::string_view field) override;
  absl::StatusOr<Uploaded> Upload(std::string file, std::string_view field) {
    return decoder_.Upload(std::move(file), field);
  }
  // Memory of one prepared picture; 0 for a text model.
  int64_t prepared_bytes() const {
    if (model_.vision == nullptr) return 0;
    const int64_t side = model_.vision->image_side();
    return 3 * side * side * int64_t{sizeof(float)};
  }
  absl::Status CheckVision() const { return decoder_.CheckVision(); }

 private:
  const Model& model_;
  ImageDecoder decoder_;
};

}  // namespace concertina
