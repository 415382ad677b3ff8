#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <semaphore>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "models/bundle/model.h"
#include "models/image/image.h"
#include "server/images/image_store.h"

namespace concertina {

struct ImageDecoderOptions {
  ImageLimits limits;
  int32_t max_decoders = 4;  // pictures decoded at the same time
  // Told the time that probe, decode and preprocessing of one picture took. May be empty;
  // thread-safe.
  std::function<void(double seconds)> on_decoded;
};

// Checks, decodes and preprocesses pictures for one model, through a store. Thread-safe; blocks the
// calling thread, at most `max_decoders` at a time: that bounds the memory of decoding.
//
// `field` names the picture in errors. FAILED_PRECONDITION NO_VISION: a text model.
// INVALID_ARGUMENT: not a picture we take.
class ImageDecoder {
 public:
  // `model` and `store` must outlive this object.
  ImageDecoder(const Model& model, ImageDecoderOptions options, ImageStore& store);

  // A picture stored before; made again from its file where its pixels were dropped. NOT_FOUND
  // IMAGE_NOT_FOUND: no such reference.
  absl::StatusOr<std::shared_ptr<const PreparedImage>> Stored(const std::string& sha256,
                                                              std::string_view field);
  // A picture that came with its request.
  absl::StatusOr<std::shared_ptr<const PreparedImage>> Inline(const std::string& file,
                                                              std::string_view field);

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
                                                               std::span<const uint8_t> file);

  const Model& model_;
  const ImageDecoderOptions options_;
  ImageStore& store_;
  std::counting_semaphore<> decoders_;
};

// Lower-case hexadecimal SHA-256.
std::string Sha256Hex(std::string_view bytes);

}  // namespace concertina
