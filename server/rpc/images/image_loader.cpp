#include "server/rpc/images/image_loader.h"

namespace concertina {

absl::StatusOr<std::shared_ptr<const PreparedImage>> ImageLoader::Resolve(const v1::Image& image,
                                                                          std::string_view field) {
  const std::string name(field);
  return image.source_case() == v1::Image::kSha256
             ? decoder_.Stored(image.sha256(), name + ".sha256")
             : decoder_.Inline(image.data(), name + ".data");
}

}  // namespace concertina
