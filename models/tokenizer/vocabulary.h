// Token spellings and their ids.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "models/tokenizer/tokenizer.h"

namespace concertina {

// Hash of strings and views alike: Debian's absl::string_view is a type of its own.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

template <typename Value>
using TextMap = absl::flat_hash_map<std::string, Value, TextHash, std::equal_to<>>;

// The model's own vocabulary: what BPE can produce. Immutable once filled.
struct Vocabulary {
  std::vector<std::string> pieces;  // by id; empty where an id is unused
  TextMap<TokenId> ids;

  std::optional<TokenId> Find(std::string_view piece) const {
    const auto found = ids.find(piece);
    if (found == ids.end()) return std::nullopt;
    return found->second;
  }
};

// The byte of a byte-fallback token "<0x0A>", or -1.
int ByteOfPiece(std::string_view piece);

// The spelling of a byte's fallback token.
std::string PieceOfByte(unsigned char byte);

// Turns one piece of pre-tokenized text into ids. Immutable and thread-safe.
class PieceModel {
 public:
  virtual ~PieceModel() = default;
  // `piece` is valid UTF-8 and not empty. Appends to `ids`.
  virtual void Encode(std::string_view piece, std::vector<TokenId>* ids) const = 0;
};

}  // namespace concertina
