#include "cache/precision/code_tile.h"

#include <cstring>

#include "cache/check.h"

namespace concertina {
namespace {

// Some bits of the codes of one quad and where they lie in the tile.
struct Field {
  int quad;
  int take;  // the code's bit it begins at
  int width;
  int vector;
  int shift;
};

// Calls f(Field) for what one quad consists of.
template <typename F>
void ForEachFieldOf(int quad, int bits, F f) {
  const int whole = bits == 3 ? 6 : kTileQuads;
  if (quad < whole) {
    f(Field{quad, 0, bits, quad / (8 / bits), quad % (8 / bits) * bits});
  } else {
    f(Field{quad, 0, 2, quad - whole, 6});
    f(Field{quad, 2, 1, 2, quad});
  }
}

// Calls f(Field) for all that a tile consists of.
template <typename F>
void ForEachField(int bits, F f) {
  for (int quad = 0; quad < kTileQuads; ++quad) ForEachFieldOf(quad, bits, f);
}

}  // namespace

void PackTile(const TileCodes& codes, int bits, uint8_t* tile) {
  CONCERTINA_CHECK(bits >= 2 && bits <= 4, "codes have two to four bits");
  std::memset(tile, 0, static_cast<size_t>(TileBytes(bits)));
  ForEachField(bits, [&](const Field& field) {
    const uint8_t* from = codes.Quad(field.quad);
    uint8_t* vector = tile + field.vector * kTileVectorBytes;
    const int mask = (1 << field.width) - 1;
    for (int i = 0; i < kTileVectorBytes; ++i) {
      vector[i] = static_cast<uint8_t>(vector[i] | ((from[i] >> field.take) & mask) << field.shift);
    }
  });
}

void UnpackTile(const uint8_t* tile, int bits, TileCodes* codes) {
  CONCERTINA_CHECK(bits >= 2 && bits <= 4, "codes have two to four bits");
  std::memset(codes->bytes, 0, sizeof(codes->bytes));
  ForEachField(bits, [&](const Field& field) {
    const uint8_t* vector = tile + field.vector * kTileVectorBytes;
    uint8_t* to = codes->Quad(field.quad);
    const int mask = (1 << field.width) - 1;
    for (int i = 0; i < kTileVectorBytes; ++i) {
      to[i] = static_cast<uint8_t>(to[i] | ((vector[i] >> field.shift) & mask) << field.take);
    }
  });
}

uint8_t GetCode(const uint8_t* tile, int bits, int depth, int lane) {
  int code = 0;
  const uint8_t* at = tile + lane * 4 + depth % 4;
  ForEachFieldOf(depth / 4, bits, [&](const Field& field) {
    const int mask = (1 << field.width) - 1;
    code |= ((at[field.vector * kTileVectorBytes] >> field.shift) & mask) << field.take;
  });
  return static_cast<uint8_t>(code);
}

void SetCode(uint8_t code, int bits, int depth, int lane, uint8_t* tile) {
  uint8_t* at = tile + lane * 4 + depth % 4;
  ForEachFieldOf(depth / 4, bits, [&](const Field& field) {
    const int mask = (1 << field.width) - 1;
    uint8_t& byte = at[field.vector * kTileVectorBytes];
    byte = static_cast<uint8_t>((byte & ~(mask << field.shift)) | ((code >> field.take) & mask)
                                                                      << field.shift);
  });
}

}  // namespace concertina
