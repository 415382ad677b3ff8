#include "models/image/decode.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <vector>

#include "models/image/exif.h"
#include "models/image/image_container.h"
#include "models/image/orient.h"

namespace concertina {
namespace {

using Pieces = std::vector<std::span<const uint8_t>>;

std::vector<uint8_t> Join(const Pieces& pieces) {
  size_t size = 0;
  for (const auto& piece : pieces) size += piece.size();
  std::vector<uint8_t> joined;
  joined.reserve(size);
  for (const auto& piece : pieces) joined.insert(joined.end(), piece.begin(), piece.end());
  return joined;
}

uint32_t Orientation(const ImageContainer& container) {
  std::optional<uint32_t> orientation = OrientationFromExif(Join(container.exif));
  if (!orientation) orientation = OrientationFromXmp(container.xmp);
  return orientation.value_or(1);
}

// Pillow clamps 16-bit grey when it converts, it does not scale.
void ClampToBgr(const cv::Mat& grey16, cv::Mat& bgr) {
  bgr.create(grey16.rows, grey16.cols, CV_8UC3);
  for (int y = 0; y < grey16.rows; ++y) {
    const uint16_t* from = grey16.ptr<uint16_t>(y);
    uint8_t* to = bgr.ptr<uint8_t>(y);
    for (int x = 0; x < grey16.cols; ++x, to += 3) {
      std::fill_n(to, 3, static_cast<uint8_t>(std::min<uint16_t>(from[x], 255)));
    }
  }
}

// The boundary at which OpenCV's exceptions end. Empty when the contents are damaged.
cv::Mat DecodeBgr(const ImageContainer& container) {
  std::vector<uint8_t> joined;
  std::span<const uint8_t> file = container.payload.front();
  if (container.payload.size() > 1) {
    joined = Join(container.payload);
    file = joined;
  }
  // Orientation is ours: OpenCV does not know WebP's, and reads EXIF less strictly.
  const int flags =
      container.grey16 ? cv::IMREAD_UNCHANGED : cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION;
  try {
    const cv::Mat wrapped(1, static_cast<int>(file.size()), CV_8UC1,
                          const_cast<uint8_t*>(file.data()));
    cv::Mat image = cv::imdecode(wrapped, flags);
    if (image.cols != container.width || image.rows != container.height) return {};
    if (image.type() == CV_16UC1) {
      cv::Mat bgr;
      ClampToBgr(image, bgr);
      return bgr;
    }
    return image.type() == CV_8UC3 ? image : cv::Mat();
  } catch (const cv::Exception&) {
    return {};  // its text holds source paths
  } catch (const std::bad_alloc&) {
    return {};
  }
}

}  // namespace

absl::StatusOr<RgbImage> DecodeImage(std::span<const uint8_t> bytes, const ImageLimits& limits) {
  absl::StatusOr<ImageContainer> container = ParseImageContainer(bytes, limits);
  if (!container.ok()) return container.status();
  const cv::Mat bgr = DecodeBgr(*container);
  if (bgr.empty()) return absl::InvalidArgumentError("image: its contents are damaged");
  return UprightFromBgr(bgr.ptr<uint8_t>(), bgr.cols, bgr.rows, bgr.step[0],
                        Orientation(*container));
}

void ConfigureOpenCv(const ImageLimits& limits) {
  setenv("OPENCV_IO_MAX_IMAGE_PIXELS", std::to_string(limits.max_pixels).c_str(), /*replace=*/0);
  cv::setNumThreads(1);
  cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
}

}  // namespace concertina
