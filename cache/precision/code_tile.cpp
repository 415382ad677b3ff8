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

// What tiles consist of, quad by quad.
struct Fields {
  Field at[kTileQuads + 2] = {};
  int count = 0;
  int first_of[kTileQuads + 1] = {};  // of a quad's fields; the last: of none
};

constexpr Fields FieldsOf(int bits) {
  Fields fields;
  const int whole = bits == 3 ? 6 : kTileQuads;
  for (int quad = 0; quad < kTileQuads; ++quad) {
    fields.first_of[quad] = fields.count;
    if (quad < whole) {
      fields.at[fields.count++] = {quad, 0, bits, quad / (8 / bits), quad % (8 / bits) * bits};
    } else {
      fields.at[fields.count++] = {quad, 0, 2, quad - whole, 6};
      fields.at[fields.count++] = {quad, 2, 1, 2, quad};
    }
  }
  fields.first_of[kTileQuads] = fields.count;
  return fields;
}

constexpr Fields kFields[] = {FieldsOf(2), FieldsOf(3), FieldsOf(4)};

// Calls f(Field) for all that a tile consists of.
template <typename F>
void ForEachField(int bits, F f) {
  const Fields& fields = kFields[bits - 2];
  for (int i = 0; i < fields.count; ++i) f(fields.at[i]);
}

// Calls f(Field) for what one quad consists of.
template <typename F>
void ForEachFieldOf(int quad, int bits, F f) {
  const Fields& fields = kFields[bits - 2];
  for (int i = fields.first_of[quad]; i < fields.first_of[quad + 1]; ++i) f(fields.at[i]);
}

constexpr uint32_t kEachByte = 0x01010101;

uint32_t LoadWord(const uint8_t* p) {
  uint32_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

void StoreWord(uint32_t word, uint8_t* p) { std::memcpy(p, &word, sizeof(word)); }

// `word` with `codes`' bits of a field, at `shift`. `mask`: of the field, as wide as codes go.
uint32_t WithField(uint32_t word, uint32_t codes, const Field& field, uint32_t mask, int shift) {
  return (word & ~(mask << shift)) | ((codes >> field.take & mask) << shift);
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

void GetLane(const uint8_t* tile, int bits, int lane, uint8_t* codes) {
  std::memset(codes, 0, kTileDepth);
  ForEachField(bits, [&](const Field& field) {
    const uint32_t mask = ((1U << field.width) - 1) * kEachByte;
    const uint32_t word = LoadWord(tile + field.vector * kTileVectorBytes + lane * 4);
    uint8_t* quad = codes + field.quad * 4;
    StoreWord(LoadWord(quad) | (word >> field.shift & mask) << field.take, quad);
  });
}

void SetLane(const uint8_t* codes, int bits, int lane, uint8_t* tile) {
  ForEachField(bits, [&](const Field& field) {
    const uint32_t mask = ((1U << field.width) - 1) * kEachByte;
    uint8_t* at = tile + field.vector * kTileVectorBytes + lane * 4;
    const uint32_t quad = LoadWord(codes + field.quad * 4);
    StoreWord(WithField(LoadWord(at), quad, field, mask, field.shift), at);
  });
}

void GetDepth(const uint8_t* tile, int bits, int depth, uint8_t* codes) {
  std::memset(codes, 0, kTileLanes);
  ForEachFieldOf(depth / 4, bits, [&](const Field& field) {
    const uint32_t mask = (1U << field.width) - 1;
    const int shift = field.shift + 8 * (depth % 4);
    const uint8_t* vector = tile + field.vector * kTileVectorBytes;
    for (int lane = 0; lane < kTileLanes; ++lane) {
      const uint32_t part = LoadWord(vector + lane * 4) >> shift & mask;
      codes[lane] = static_cast<uint8_t>(codes[lane] | part << field.take);
    }
  });
}

void SetDepth(const uint8_t* codes, int bits, int depth, uint8_t* tile) {
  ForEachFieldOf(depth / 4, bits, [&](const Field& field) {
    const uint32_t mask = (1U << field.width) - 1;
    const int shift = field.shift + 8 * (depth % 4);
    uint8_t* vector = tile + field.vector * kTileVectorBytes;
    for (int lane = 0; lane < kTileLanes; ++lane) {
      uint8_t* at = vector + lane * 4;
      StoreWord(WithField(LoadWord(at), codes[lane], field, mask, shift), at);
    }
  });
}

}  // namespace concertina
