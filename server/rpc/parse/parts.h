#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "concertina/v1/session.pb.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "server/engine/requests.h"
#include "server/rpc/limits.h"

namespace concertina {

// Turns a picture of a request into pixels. Thread-safe; may take long.
class ImageResolver {
 public:
  virtual ~ImageResolver() = default;
  // `field` names the image in errors ("parts[1].image").
  virtual absl::StatusOr<std::shared_ptr<const PreparedImage>> Resolve(const v1::Image& image,
                                                                       std::string_view field) = 0;
};

using Parts = google::protobuf::RepeatedPtrField<v1::InputPart>;

// The cheap half: counts, presence, form. Done for a whole request before any picture is decoded.
absl::Status CheckParts(const Parts& parts, std::string_view field, const RpcLimits& limits);

// Pictures among the parts.
int64_t CountImages(const Parts& parts);

// Memory of parts that were resolved: text and pixels. Pictures are shared, but counted as if they
// were not.
int64_t HeldBytes(const std::vector<ContentPart>& parts);

// The costly half. REQUIRES: CheckParts passed.
absl::StatusOr<std::vector<ContentPart>> ResolveParts(const Parts& parts, std::string_view field,
                                                      ImageResolver& images);

}  // namespace concertina
