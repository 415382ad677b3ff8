#include "tests/hostile/hostile_picture.h"

#include <zlib.h>

#include <random>

namespace concertina::testing {

Bytes Cut(const Bytes& bytes, size_t begin, size_t end) {
  return Bytes(bytes.begin() + static_cast<ptrdiff_t>(begin),
               bytes.begin() + static_cast<ptrdiff_t>(end));
}

void SetBig32(Bytes& bytes, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<uint8_t>(value >> (24 - 8 * i));
}

void SetLittle32(Bytes& bytes, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<uint8_t>(value >> (8 * i));
}

Bytes ZeroesDeflated(size_t size) {
  Bytes out(size / 500 + 4096);
  const Bytes zeroes(1 << 20);
  z_stream stream{};
  deflateInit(&stream, Z_BEST_SPEED);
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  while (size > 0) {
    const size_t step = std::min(size, zeroes.size());
    stream.next_in = const_cast<Bytef*>(zeroes.data());
    stream.avail_in = static_cast<uInt>(step);
    deflate(&stream, Z_NO_FLUSH);
    size -= step;
  }
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

void AddRandomDamage(uint32_t seed, std::vector<HostilePicture>& out) {
  std::mt19937 random(seed);
  const std::vector<std::string> names = DataImages();
  for (int i = 0; i < 120; ++i) {
    const std::string& name = names[random() % names.size()];
    Bytes bytes = ReadBytes(DataPath(name));
    for (size_t flips = 1 + random() % 8; flips > 0; --flips) {
      bytes[random() % bytes.size()] ^= static_cast<uint8_t>(1 + random() % 255);
    }
    out.push_back({"random " + std::to_string(i) + " of " + name, Verdict::kAnything, bytes, {}});
  }
}

std::vector<HostilePicture> HostilePictures(uint32_t seed) {
  std::vector<HostilePicture> out;
  AddHostilePngs(out);
  AddHostileJpegs(out);
  AddHostileWebps(out);
  AddForeignFormats(out);
  AddRandomDamage(seed, out);
  return out;
}

}  // namespace concertina::testing
