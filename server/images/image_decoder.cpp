#include "server/images/image_decoder.h"

#include <openssl/evp.h>

#include <array>
#include <chrono>
#include <utility>

#include "absl/strings/escaping.h"
#include "models/image/decode.h"
#include "models/image/preprocess.h"
#include "models/image/probe.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

std::span<const uint8_t> Bytes(const std::string& file) {
  return {reinterpret_cast<const uint8_t*>(file.data()), file.size()};
}

// Errors of models/image are INVALID_ARGUMENT with texts fit for clients; here they get their
// field.
absl::Status AtField(const absl::Status& status, std::string_view field) {
  if (status.code() != absl::StatusCode::kInvalidArgument) return status;
  return FieldError(field, std::string(status.message()));
}

class SemaphoreLock {
 public:
  explicit SemaphoreLock(std::counting_semaphore<>& semaphore) : semaphore_(semaphore) {
    semaphore_.acquire();
  }
  ~SemaphoreLock() { semaphore_.release(); }
  SemaphoreLock(const SemaphoreLock&) = delete;
  SemaphoreLock& operator=(const SemaphoreLock&) = delete;

 private:
  std::counting_semaphore<>& semaphore_;
};

}  // namespace

std::string Sha256Hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1)
    return {};
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), size});
}

ImageDecoder::ImageDecoder(const Model& model, ImageDecoderOptions options, ImageStore& store)
    : model_(model),
      options_(std::move(options)),
      store_(store),
      decoders_(options_.max_decoders) {}

absl::Status ImageDecoder::CheckVision() const {
  if (model_.vision != nullptr) return absl::OkStatus();
  return ReasonError(absl::StatusCode::kFailedPrecondition, reason::kNoVision,
                     "the model does not take pictures");
}

absl::StatusOr<std::shared_ptr<const PreparedImage>> ImageDecoder::Stored(const std::string& sha256,
                                                                          std::string_view field) {
  if (auto status = CheckVision(); !status.ok()) return status;
  std::optional<StoredImage> stored = store_.Get(sha256);
  if (!stored.has_value()) {
    return ReasonError(absl::StatusCode::kNotFound, reason::kImageNotFound,
                       "no picture with this SHA-256 is stored; upload it again");
  }
  if (stored->prepared != nullptr) return stored->prepared;
  auto loaded = Load(sha256, stored->file, field);
  if (!loaded.ok()) return loaded.status();
  return loaded->prepared;
}

absl::StatusOr<std::shared_ptr<const PreparedImage>> ImageDecoder::Inline(const std::string& file,
                                                                          std::string_view field) {
  if (auto status = CheckVision(); !status.ok()) return status;
  const std::string sha256 = Sha256Hex(file);
  std::optional<StoredImage> stored = store_.Get(sha256);
  if (stored.has_value() && stored->prepared != nullptr) return stored->prepared;
  auto loaded = Load(
      sha256, stored.has_value() ? stored->file : std::make_shared<const std::string>(file), field);
  if (!loaded.ok()) return loaded.status();
  return loaded->prepared;
}

absl::StatusOr<ImageDecoder::Uploaded> ImageDecoder::Upload(std::string file,
                                                            std::string_view field) {
  if (auto status = CheckVision(); !status.ok()) return status;
  Uploaded uploaded;
  uploaded.sha256 = Sha256Hex(file);
  uploaded.bytes = static_cast<int64_t>(file.size());
  auto loaded = Load(uploaded.sha256, std::make_shared<const std::string>(std::move(file)), field);
  if (!loaded.ok()) return loaded.status();
  uploaded.width = loaded->width;
  uploaded.height = loaded->height;
  return uploaded;
}

absl::StatusOr<StoredImage> ImageDecoder::Load(const std::string& sha256,
                                               std::shared_ptr<const std::string> file,
                                               std::string_view field) {
  const auto start = std::chrono::steady_clock::now();
  auto probe = ProbeImage(Bytes(*file), options_.limits);
  if (!probe.ok()) return AtField(probe.status(), field);
  auto prepared = Prepare(sha256, Bytes(*file));
  if (!prepared.ok()) return AtField(prepared.status(), field);
  StoredImage image{std::move(file), probe->width, probe->height, *std::move(prepared)};
  store_.Put(sha256, image);
  if (options_.on_decoded) {
    options_.on_decoded(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return image;
}

absl::StatusOr<std::shared_ptr<const PreparedImage>> ImageDecoder::Prepare(
    const std::string& sha256, std::span<const uint8_t> file) {
  absl::StatusOr<std::vector<float>> pixels;
  {
    const SemaphoreLock lock(decoders_);
    auto decoded = DecodeImage(file, options_.limits);
    if (!decoded.ok()) return decoded.status();
    pixels = PreprocessClip(*decoded, model_.preprocess);
  }
  if (!pixels.ok()) return pixels.status();
  const auto side = static_cast<size_t>(model_.vision->image_side());
  if (pixels->size() != 3 * side * side) {
    return absl::InternalError("preprocessing and vision tower disagree about the picture's size");
  }
  auto prepared = std::make_shared<PreparedImage>();
  prepared->sha256 = sha256;
  prepared->pixels = *std::move(pixels);
  return prepared;
}

}  // namespace concertina
