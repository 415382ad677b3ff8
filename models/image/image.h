#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace concertina {

// What an untrusted image may cost. Checked against its header before anything is decoded.
struct ImageLimits {
  int64_t max_bytes = int64_t{8} << 20;    // of the file
  int64_t max_pixels = int64_t{16} << 20;  // width * height as stored
  int32_t min_side = 2;
  int32_t max_side = 16384;
};

// An upright picture: height rows of width pixels, 3 bytes (R, G, B) each, without padding.
struct RgbImage {
  int32_t width = 0;
  int32_t height = 0;
  std::vector<uint8_t> pixels;
};

}  // namespace concertina
