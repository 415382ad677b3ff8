#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/models/image/image_test_data.h"

namespace concertina::testing {

// What has to become of a hostile picture.
enum class Verdict {
  kRefusedUnseen,   // by its header and structure, before a decoder sees it
  kRefused,         // at the latest by the decoder
  kSameAsOriginal,  // harmless: gives the pixels of the picture it was made from
  kAnything,        // refused, or a picture of the size its header says
};

struct HostilePicture {
  std::string name;
  Verdict verdict;
  Bytes bytes;
  Bytes original;  // of kSameAsOriginal
};

// At least 200 of them; the seed chooses where random damage is done.
std::vector<HostilePicture> HostilePictures(uint32_t seed);

// The families, one file each.
void AddHostilePngs(std::vector<HostilePicture>& out);
void AddHostileJpegs(std::vector<HostilePicture>& out);
void AddHostileWebps(std::vector<HostilePicture>& out);
void AddForeignFormats(std::vector<HostilePicture>& out);
void AddRandomDamage(uint32_t seed, std::vector<HostilePicture>& out);

// Little tools of the families.
Bytes Cut(const Bytes& bytes, size_t begin, size_t end);
void SetBig32(Bytes& bytes, size_t at, uint32_t value);
void SetLittle32(Bytes& bytes, size_t at, uint32_t value);
// A zlib stream of `size` zero bytes.
Bytes ZeroesDeflated(size_t size);

}  // namespace concertina::testing
