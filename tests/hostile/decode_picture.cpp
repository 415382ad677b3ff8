// Decodes picture files in a process that has seen no other: prints a line per file, with
// a hash of the pixels or "refused".
#include <cstdio>

#include "models/image/decode.h"
#include "tests/hostile/pixel_digest.h"
#include "tests/models/image/image_test_data.h"

int main(int argc, char** argv) {
  using namespace concertina;
  for (int i = 1; i < argc; ++i) {
    std::puts(
        testing::PixelDigest(DecodeImage(testing::ReadBytes(argv[i]), ImageLimits())).c_str());
  }
  return 0;
}
