#include "cache/precision/group_codes.h"

#include <cstring>

namespace concertina {
namespace {

// Entries as lanes from `entry` on, channels as depth from `channel` on.
void KeyTile(const GroupCodes& codes, int64_t entry, int64_t channel, TileCodes* tile) {
  for (int lane = 0; lane < kTileLanes; ++lane) {
    const uint8_t* row = codes.Row(entry + lane) + channel;
    for (int quad = 0; quad < kTileQuads; ++quad) {
      std::memcpy(tile->Quad(quad) + lane * 4, row + quad * 4, 4);
    }
  }
}

void FromKeyTile(const TileCodes& tile, int64_t entry, int64_t channel, GroupCodes* codes) {
  for (int lane = 0; lane < kTileLanes; ++lane) {
    uint8_t* row = codes->Row(entry + lane) + channel;
    for (int quad = 0; quad < kTileQuads; ++quad) {
      std::memcpy(row + quad * 4, tile.Quad(quad) + lane * 4, 4);
    }
  }
}

// Channels as lanes from `channel` on, all entries as depth.
void ValueTile(const GroupCodes& codes, int64_t channel, TileCodes* tile) {
  for (int depth = 0; depth < kTileDepth; ++depth) {
    const uint8_t* row = codes.Row(depth) + channel;
    for (int lane = 0; lane < kTileLanes; ++lane) tile->At(depth, lane) = row[lane];
  }
}

void FromValueTile(const TileCodes& tile, int64_t channel, GroupCodes* codes) {
  for (int depth = 0; depth < kTileDepth; ++depth) {
    uint8_t* row = codes->Row(depth) + channel;
    for (int lane = 0; lane < kTileLanes; ++lane) row[lane] = tile.At(depth, lane);
  }
}

}  // namespace

void PackKeys(const GroupLayout& layout, const GroupCodes& codes, uint8_t* group) {
  TileCodes tile;
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t block = 0; block < layout.blocks(); ++block) {
      KeyTile(codes, half * kTileLanes, block * kTileDepth, &tile);
      PackTile(tile, layout.bits().key, group + layout.key_tile(half, block));
    }
  }
}

void UnpackKeys(const GroupLayout& layout, const uint8_t* group, GroupCodes* codes) {
  TileCodes tile;
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t block = 0; block < layout.blocks(); ++block) {
      UnpackTile(group + layout.key_tile(half, block), layout.bits().key, &tile);
      FromKeyTile(tile, half * kTileLanes, block * kTileDepth, codes);
    }
  }
}

void PackValues(const GroupLayout& layout, const GroupCodes& codes, uint8_t* group) {
  TileCodes tile;
  for (int64_t i = 0; i < 2 * layout.blocks(); ++i) {
    ValueTile(codes, i * kTileLanes, &tile);
    PackTile(tile, layout.bits().value, group + layout.value_tile(i / 2, i % 2));
  }
}

void UnpackValues(const GroupLayout& layout, const uint8_t* group, GroupCodes* codes) {
  TileCodes tile;
  for (int64_t i = 0; i < 2 * layout.blocks(); ++i) {
    UnpackTile(group + layout.value_tile(i / 2, i % 2), layout.bits().value, &tile);
    FromValueTile(tile, i * kTileLanes, codes);
  }
}

}  // namespace concertina
