#include "server/rpc/parse/parts.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"
#include "server/rpc/parse/checks.h"

namespace concertina {
namespace {

absl::Status CheckImage(const v1::Image& image, const std::string& field, const RpcLimits& limits) {
  switch (image.source_case()) {
    case v1::Image::kData:
      if (image.data().empty()) return FieldError(field + ".data", "must not be empty");
      if (static_cast<int64_t>(image.data().size()) > limits.images.max_bytes) {
        return FieldError(field + ".data", absl::StrCat("must not be larger than ",
                                                        limits.images.max_bytes, " bytes"));
      }
      return absl::OkStatus();
    case v1::Image::kSha256:
      if (!IsSha256(image.sha256())) {
        return FieldError(field + ".sha256", "must be 64 lower-case hexadecimal digits");
      }
      return absl::OkStatus();
    case v1::Image::SOURCE_NOT_SET:
      break;
  }
  return FieldError(field, "one of data and sha256 must be set");
}

}  // namespace

absl::Status CheckParts(const Parts& parts, std::string_view field, const RpcLimits& limits) {
  if (parts.empty()) return FieldError(field, "must have at least one part");
  if (parts.size() > limits.max_parts) {
    return FieldError(field, absl::StrCat("must not have more than ", limits.max_parts, " parts"));
  }
  for (int i = 0; i < parts.size(); ++i) {
    const std::string name = Indexed(field, i);
    switch (parts[i].part_case()) {
      case v1::InputPart::kText:
        if (parts[i].text().empty()) return FieldError(name + ".text", "must not be empty");
        break;
      case v1::InputPart::kImage:
        if (auto status = CheckImage(parts[i].image(), name + ".image", limits); !status.ok()) {
          return status;
        }
        break;
      case v1::InputPart::PART_NOT_SET:
        return FieldError(name, "one of text and image must be set");
    }
  }
  return absl::OkStatus();
}

int64_t CountImages(const Parts& parts) {
  return std::count_if(parts.begin(), parts.end(),
                       [](const v1::InputPart& part) { return part.has_image(); });
}

int64_t HeldBytes(const std::vector<ContentPart>& parts) {
  size_t bytes = 0;
  for (const ContentPart& part : parts) {
    bytes += part.text.size();
    if (part.image != nullptr) bytes += part.image->pixels.size() * sizeof(float);
  }
  return static_cast<int64_t>(bytes);
}

absl::StatusOr<std::vector<ContentPart>> ResolveParts(const Parts& parts, std::string_view field,
                                                      ImageResolver& images) {
  std::vector<ContentPart> resolved;
  resolved.reserve(static_cast<size_t>(parts.size()));
  for (int i = 0; i < parts.size(); ++i) {
    ContentPart part;
    if (parts[i].has_image()) {
      auto image = images.Resolve(parts[i].image(), Indexed(field, i) + ".image");
      if (!image.ok()) return image.status();
      part.image = *std::move(image);
    } else {
      part.text = parts[i].text();
    }
    part.pin = parts[i].pin();
    resolved.push_back(std::move(part));
  }
  return resolved;
}

}  // namespace concertina
