// Byte-pair encoding by ranked merges (Sennrich et al. 2016, in the form of the `tokenizers`
// library).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "models/tokenizer/vocabulary.h"

namespace concertina {

struct BpeOptions {
  bool byte_level = false;     // start from bytes in GPT-2's alphabet instead of characters
  bool byte_fallback = false;  // an unknown character becomes its "<0x..>" tokens
  bool fuse_unk = false;       // a run of unknown characters becomes one unk
  bool ignore_merges = false;  // a piece that is in the vocabulary is taken whole
  std::optional<TokenId> unk;  // without one, unknown characters vanish, as in the reference
};

class BpeModel final : public PieceModel {
 public:
  using Merge = std::pair<std::string, std::string>;

  // INVALID_ARGUMENT when a merge or its result is not in the vocabulary, or too many merges. The
  // vocabulary must outlive the model. `reserved` ids (special tokens) are never produced by
  // ignore_merges.
  static absl::StatusOr<std::unique_ptr<BpeModel>> Make(const Vocabulary* vocabulary,
                                                        std::span<const Merge> merges,
                                                        const BpeOptions& options,
                                                        std::span<const TokenId> reserved);

  void Encode(std::string_view piece, std::vector<TokenId>* ids) const override;

 private:
  struct Rule {
    int32_t rank;
    TokenId result;
  };
  struct Symbol {
    TokenId id;
    int32_t previous, next;  // -1 at the ends
  };

  BpeModel(const Vocabulary* vocabulary, const BpeOptions& options);
  bool TakeWhole(std::string_view piece, std::vector<TokenId>* ids) const;
  std::vector<TokenId> FirstSymbols(std::string_view piece) const;
  std::vector<TokenId> CharacterSymbols(std::string_view piece) const;
  bool FallBackToBytes(std::string_view character, std::vector<TokenId>* ids) const;
  const Rule* FindRule(TokenId left, TokenId right) const;
  void MergeAll(std::vector<Symbol>* symbols) const;

  const Vocabulary* vocabulary_;
  BpeOptions options_;
  absl::flat_hash_map<uint64_t, Rule> rules_;
  // Id of each byte: its character's (byte level) or its fallback token's; -1 where missing.
  std::array<TokenId, 256> byte_ids_;
  std::vector<bool> reserved_;
};

}  // namespace concertina
