#pragma once

#include <cstdint>

namespace concertina {

// A tile is a matrix of 32 x 16 codes of 2, 3 or 4 bits, laid out for dot products of bytes: what
// is summed over is the *depth*, what has a sum of its own a *lane*. Four consecutive depths, a
// quad, take the four bytes of a lane's 32 bits, so a vector of 64 bytes holds one quad of all
// lanes. Bits of several quads share a vector and come apart with a shift and a mask:
//
//   2 bits  2 vectors; quad q in vector q / 4, shifted by 2 (q % 4)
//   3 bits  3 vectors; quads 0 to 5 in vector q / 2, shifted by 3 (q % 2); the low two bits of
//   quads
//           6 and 7 are the top two of vectors 0 and 1, their high bits bits 6 and 7 of vector 2
//   4 bits  4 vectors; quad q in vector q / 2, shifted by 4 (q % 2)
//
// Keys have entries as lanes and channels as depth, values the other way round.
constexpr int kTileDepth = 32;
constexpr int kTileLanes = 16;
constexpr int kTileQuads = kTileDepth / 4;
constexpr int kTileVectorBytes = kTileLanes * 4;

constexpr int64_t TileBytes(int bits) { return int64_t{kTileVectorBytes} * bits; }

// One byte per code: [quad][lane][4].
struct TileCodes {
  uint8_t* Quad(int quad) { return bytes + quad * kTileVectorBytes; }
  const uint8_t* Quad(int quad) const { return bytes + quad * kTileVectorBytes; }
  uint8_t& At(int depth, int lane) { return Quad(depth / 4)[lane * 4 + depth % 4]; }
  uint8_t At(int depth, int lane) const { return Quad(depth / 4)[lane * 4 + depth % 4]; }

  alignas(64) uint8_t bytes[kTileQuads * kTileVectorBytes];
};

// REQUIRES: bits is 2, 3 or 4 and every code below 2^bits; `tile` has TileBytes(bits) bytes.
void PackTile(const TileCodes& codes, int bits, uint8_t* tile);
void UnpackTile(const uint8_t* tile, int bits, TileCodes* codes);

// The codes of a packed tile's lane, of all depths, or those at one depth, of all lanes. Set leaves
// the others as they are.
void GetLane(const uint8_t* tile, int bits, int lane, uint8_t* codes);
void SetLane(const uint8_t* codes, int bits, int lane, uint8_t* tile);
void GetDepth(const uint8_t* tile, int bits, int depth, uint8_t* codes);
void SetDepth(const uint8_t* codes, int bits, int depth, uint8_t* tile);

}  // namespace concertina
