#include "server/rpc/images/image_loader.h"

#include <openssl/evp.h>

#include <array>
#include <chrono>
#include <utility>

#include "absl/strings/escaping.h"
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

ImageLoader::ImageLoader(const Model& model, const RpcLimits& limits, ImageStore& store,
                         RpcMetrics& metrics)
    : model_(model),
      limits_(limits),
      store_(store),
      metrics_(metrics),
      decoders_(limits.max_decoders) {}

absl::Status ImageLoader::CheckVision() const {
  if (model_.vision != nullptr) return absl::OkStatus();
  return ReasonError(absl::StatusCode::kFailedPrecondition, reason::kNoVision,
                     "the model does not take pictures");
}

absl::StatusOr<std::shared_ptr<const PreparedImage>> ImageLoader::Resolve(const v1::Image& image,
                                                                          std::string_view field) {
  if (auto status = CheckVision(); !status.ok()) return status;
  const bool by_reference = image.source_case() == v1::Image::kSha256;
  const std::string sha256 = by_reference ? image.sha256() : Sha256Hex(image.data());
  std::optional<StoredImage> stored = store_.Get(sha256);
  if (stored.has_value() && stored->prepared != nullptr) return stored->prepared;
  std::shared_ptr<const std::string> file;
  if (stored.has_value()) {
    file = stored->file;
  } else if (by_reference) {
    return ReasonError(absl::StatusCode::kNotFound, reason::kImageNotFound,
                       "no picture with this SHA-256 is stored; upload it again");
  } else {
    file = std::make_shared<const std::string>(image.data());
  }
  const std::string at = std::string(field) + (by_reference ? ".sha256" : ".data");
  auto loaded = Load(sha256, std::move(file), at);
  if (!loaded.ok()) return loaded.status();
  return loaded->prepared;
}

absl::StatusOr<ImageLoader::Uploaded> ImageLoader::Upload(std::string file,
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

absl::StatusOr<StoredImage> ImageLoader::Load(const std::string& sha256,
                                              std::shared_ptr<const std::string> file,
                                              std::string_view field) {
  const auto start = std::chrono::steady_clock::now();
  auto probe = ProbeImage(Bytes(*file), limits_.images);
  if (!probe.ok()) return AtField(probe.status(), field);
  auto prepared = Prepare(sha256, Bytes(*file));
  if (!prepared.ok()) return AtField(prepared.status(), field);
  StoredImage image{std::move(file), probe->width, probe->height, *std::move(prepared)};
  store_.Put(sha256, image);
  metrics_.OnImageDecode(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  return image;
}

absl::StatusOr<std::shared_ptr<const PreparedImage>> ImageLoader::Prepare(
    const std::string& sha256, std::span<const uint8_t> file) const {
  absl::StatusOr<std::vector<float>> pixels;
  {
    const SemaphoreLock lock(decoders_);
    auto decoded = DecodeImage(file, limits_.images);
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
