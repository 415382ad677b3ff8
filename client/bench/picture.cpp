#include "client/bench/picture.h"

#include <png.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"

namespace concertina::bench {
namespace {

constexpr int kShortestSide = 2;
constexpr int kLongestSide = 16'384;
constexpr int kRectangles = 12;
constexpr size_t kChannels = 3;

// The whole of [begin, end) as a side.
bool ParseSide(const char* begin, const char* end, int* side) {
  const auto [rest, error] = std::from_chars(begin, end, *side);
  return error == std::errc() && rest == end && *side >= kShortestSide && *side <= kLongestSide;
}

void FillRectangle(std::vector<uint8_t>* pixels, PictureSize size, std::mt19937_64& random) {
  const auto below = [&random](int bound) {
    return static_cast<int>(random() % static_cast<uint64_t>(bound));
  };
  const int left = below(size.width);
  const int top = below(size.height);
  const int right = left + 1 + below(size.width - left);
  const int bottom = top + 1 + below(size.height - top);
  const uint64_t bits = random();
  const std::array<uint8_t, kChannels> colour{static_cast<uint8_t>(bits),
                                              static_cast<uint8_t>(bits >> 8),
                                              static_cast<uint8_t>(bits >> 16)};
  for (int y = top; y < bottom; ++y) {
    const size_t row = static_cast<size_t>(y) * static_cast<size_t>(size.width);
    for (int x = left; x < right; ++x) {
      std::copy(colour.begin(), colour.end(),
                pixels->begin() +
                    static_cast<std::ptrdiff_t>((row + static_cast<size_t>(x)) * kChannels));
    }
  }
}

}  // namespace

absl::StatusOr<PictureSize> ParsePictureSize(const std::string& text) {
  const size_t cross = text.find('x');
  const char* end = text.data() + text.size();
  PictureSize size;
  if (cross == std::string::npos || !ParseSide(text.data(), text.data() + cross, &size.width) ||
      !ParseSide(text.data() + cross + 1, end, &size.height)) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not WIDTHxHEIGHT, ",
                                                   kShortestSide, " to ", kLongestSide, " each"));
  }
  return size;
}

absl::StatusOr<std::string> MakePicture(PictureSize size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> pixels(
      static_cast<size_t>(size.width) * static_cast<size_t>(size.height) * kChannels, 0xff);
  for (int i = 0; i < kRectangles; ++i) FillRectangle(&pixels, size, random);
  // Small pictures may lose the rectangles' difference: the seed itself is written into the corner.
  for (size_t i = 0; i < sizeof(seed); ++i) pixels[i] = static_cast<uint8_t>(seed >> (8 * i));
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(size.width);
  image.height = static_cast<png_uint_32>(size.height);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string file(bytes, '\0');
  if (png_image_write_to_memory(&image, file.data(), &bytes, 0, pixels.data(), 0, nullptr) == 0) {
    return absl::InternalError(absl::StrCat("cannot make a picture: ", image.message));
  }
  file.resize(bytes);
  return file;
}

}  // namespace concertina::bench
