#include "cache/precision/code_tile.h"

#include <cstring>

#include "cache/check.h"

namespace concertina {
namespace {

// Quads share vectors as fields of `width` bits. `take` is the bit of a code its field begins at.
void PackFields(const TileCodes& codes, int width, int take, uint8_t* out) {
  const int per_vector = 8 / width;
  const auto mask = static_cast<uint8_t>((1 << width) - 1);
  std::memset(out, 0, static_cast<size_t>(kTileQuads / per_vector * kTileVectorBytes));
  for (int quad = 0; quad < kTileQuads; ++quad) {
    uint8_t* vector = out + quad / per_vector * kTileVectorBytes;
    const uint8_t* from = codes.Quad(quad);
    const int shift = quad % per_vector * width;
    for (int i = 0; i < kTileVectorBytes; ++i) {
      vector[i] = static_cast<uint8_t>(vector[i] | ((from[i] >> take) & mask) << shift);
    }
  }
}

void UnpackFields(const uint8_t* in, int width, int put, TileCodes* codes) {
  const int per_vector = 8 / width;
  const auto mask = static_cast<uint8_t>((1 << width) - 1);
  for (int quad = 0; quad < kTileQuads; ++quad) {
    const uint8_t* vector = in + quad / per_vector * kTileVectorBytes;
    uint8_t* to = codes->Quad(quad);
    const int shift = quad % per_vector * width;
    for (int i = 0; i < kTileVectorBytes; ++i) {
      to[i] = static_cast<uint8_t>(to[i] | ((vector[i] >> shift) & mask) << put);
    }
  }
}

// Where a field of `width` bits of one code lies.
struct FieldPlace {
  FieldPlace(int width, int depth, int lane)
      : byte(depth / 4 / (8 / width) * kTileVectorBytes + lane * 4 + depth % 4),
        shift(depth / 4 % (8 / width) * width),
        mask((1 << width) - 1) {}

  int Get(const uint8_t* fields) const { return (fields[byte] >> shift) & mask; }
  void Set(int value, uint8_t* fields) const {
    fields[byte] =
        static_cast<uint8_t>((fields[byte] & ~(mask << shift)) | (value & mask) << shift);
  }

  int byte;
  int shift;
  int mask;
};

}  // namespace

void PackTile(const TileCodes& codes, int bits, uint8_t* tile) {
  CONCERTINA_CHECK(bits >= 2 && bits <= 4, "codes have two to four bits");
  PackFields(codes, bits == 4 ? 4 : 2, 0, tile);
  if (bits == 3) PackFields(codes, 1, 2, tile + TileBytes(2));
}

void UnpackTile(const uint8_t* tile, int bits, TileCodes* codes) {
  CONCERTINA_CHECK(bits >= 2 && bits <= 4, "codes have two to four bits");
  std::memset(codes->bytes, 0, sizeof(codes->bytes));
  UnpackFields(tile, bits == 4 ? 4 : 2, 0, codes);
  if (bits == 3) UnpackFields(tile + TileBytes(2), 1, 2, codes);
}

uint8_t GetCode(const uint8_t* tile, int bits, int depth, int lane) {
  int code = FieldPlace(bits == 4 ? 4 : 2, depth, lane).Get(tile);
  if (bits == 3) code |= FieldPlace(1, depth, lane).Get(tile + TileBytes(2)) << 2;
  return static_cast<uint8_t>(code);
}

void SetCode(uint8_t code, int bits, int depth, int lane, uint8_t* tile) {
  FieldPlace(bits == 4 ? 4 : 2, depth, lane).Set(code, tile);
  if (bits == 3) FieldPlace(1, depth, lane).Set(code >> 2, tile + TileBytes(2));
}

}  // namespace concertina
