#include "models/image/probe.h"

#include "models/image/image_container.h"

namespace concertina {

absl::StatusOr<ImageProbe> ProbeImage(std::span<const uint8_t> bytes, const ImageLimits& limits) {
  absl::StatusOr<ImageContainer> container = ParseImageContainer(bytes, limits);
  if (!container.ok()) return container.status();
  return ImageProbe{container->format, container->width, container->height};
}

}  // namespace concertina
