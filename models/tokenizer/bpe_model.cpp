#include "models/tokenizer/bpe_model.h"

#include <algorithm>
#include <limits>
#include <queue>

#include "absl/strings/str_cat.h"
#include "models/tokenizer/byte_alphabet.h"
#include "models/tokenizer/utf8.h"

namespace concertina {
namespace {

uint64_t PairKey(TokenId left, TokenId right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

struct Candidate {
  int32_t rank;
  int32_t position;
  TokenId result;

  bool operator>(const Candidate& other) const {
    return rank != other.rank ? rank > other.rank : position > other.position;
  }
};

}  // namespace

BpeModel::BpeModel(const Vocabulary* vocabulary, const BpeOptions& options)
    : vocabulary_(vocabulary), options_(options) {
  for (int b = 0; b < 256; ++b) {
    const auto byte = static_cast<unsigned char>(b);
    const std::string piece =
        options.byte_level ? std::string(ByteCharacter(byte)) : PieceOfByte(byte);
    byte_ids_[byte] = vocabulary->Find(piece).value_or(-1);
  }
}

absl::StatusOr<std::unique_ptr<BpeModel>> BpeModel::Make(const Vocabulary* vocabulary,
                                                         std::span<const Merge> merges,
                                                         const BpeOptions& options,
                                                         std::span<const TokenId> reserved) {
  if (merges.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return absl::InvalidArgumentError("too many merges");
  }
  std::unique_ptr<BpeModel> model(new BpeModel(vocabulary, options));
  model->rules_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto left_id = vocabulary->Find(left);
    const auto right_id = vocabulary->Find(right);
    const auto result = vocabulary->Find(left + right);
    if (!left_id || !right_id || !result) {
      return absl::InvalidArgumentError(absl::StrCat("merge ", rank, " ('", left, "' '", right,
                                                     "') or its result is not in the vocabulary"));
    }
    // The last of equal pairs counts, as in the reference.
    model->rules_[PairKey(*left_id, *right_id)] = {static_cast<int32_t>(rank), *result};
  }
  model->reserved_.resize(vocabulary->pieces.size());
  for (TokenId id : reserved) {
    if (static_cast<size_t>(id) < model->reserved_.size()) model->reserved_[id] = true;
  }
  return model;
}

const BpeModel::Rule* BpeModel::FindRule(TokenId left, TokenId right) const {
  const auto found = rules_.find(PairKey(left, right));
  return found == rules_.end() ? nullptr : &found->second;
}

bool BpeModel::TakeWhole(std::string_view piece, std::vector<TokenId>* ids) const {
  std::optional<TokenId> id;
  if (options_.byte_level) {
    std::string spelled;
    AppendByteCharacters(piece, &spelled);
    id = vocabulary_->Find(spelled);
  } else {
    id = vocabulary_->Find(piece);
  }
  if (!id || reserved_[*id]) return false;
  ids->push_back(*id);
  return true;
}

bool BpeModel::FallBackToBytes(std::string_view character, std::vector<TokenId>* ids) const {
  const auto id_of = [&](char c) { return byte_ids_[static_cast<unsigned char>(c)]; };
  if (!std::all_of(character.begin(), character.end(), [&](char c) { return id_of(c) >= 0; }))
    return false;
  for (char c : character) ids->push_back(id_of(c));
  return true;
}

std::vector<TokenId> BpeModel::CharacterSymbols(std::string_view piece) const {
  std::vector<TokenId> ids;
  ids.reserve(piece.size());
  bool unknown = false;  // an unk waits for its run to end
  for (size_t i = 0; i < piece.size();) {
    const std::string_view character = piece.substr(i, Utf8Length(piece[i]));
    i += character.size();
    if (const auto id = vocabulary_->Find(character)) {
      if (unknown) ids.push_back(*options_.unk);
      unknown = false;
      ids.push_back(*id);
    } else if (options_.byte_fallback && FallBackToBytes(character, &ids)) {
      continue;
    } else if (options_.unk) {
      if (unknown && !options_.fuse_unk) ids.push_back(*options_.unk);
      unknown = true;
    }
  }
  if (unknown) ids.push_back(*options_.unk);
  return ids;
}

std::vector<TokenId> BpeModel::FirstSymbols(std::string_view piece) const {
  if (!options_.byte_level) return CharacterSymbols(piece);
  std::vector<TokenId> ids;
  ids.reserve(piece.size());
  bool unknown = false;
  for (char c : piece) {
    const TokenId id = byte_ids_[static_cast<unsigned char>(c)];
    if (id >= 0) {
      ids.push_back(id);
    } else if (options_.unk && !(options_.fuse_unk && unknown)) {
      ids.push_back(*options_.unk);
    }
    unknown = id < 0;
  }
  return ids;
}

void BpeModel::MergeAll(std::vector<Symbol>* symbols) const {
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const Rule* rule = FindRule((*symbols)[left].id, (*symbols)[right].id);
    if (rule != nullptr) queue.push({rule->rank, left, rule->result});
  };
  const auto count = static_cast<int32_t>(symbols->size());
  for (int32_t i = 0; i + 1 < count; ++i) consider(i, i + 1);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = (*symbols)[top.position];
    if (left.id < 0 || left.next < 0) continue;
    Symbol& right = (*symbols)[left.next];
    // The pair may have changed since it was queued.
    const Rule* rule = FindRule(left.id, right.id);
    if (rule == nullptr || rule->result != top.result) continue;
    left.id = top.result;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) (*symbols)[left.next].previous = top.position;
    consider(left.previous, top.position);
    consider(top.position, left.next);
  }
}

void BpeModel::Encode(std::string_view piece, std::vector<TokenId>* ids) const {
  if (options_.ignore_merges && TakeWhole(piece, ids)) return;
  // Positions are 32 bit: a longer piece is encoded in parts.
  constexpr size_t kBytesMax = size_t{1} << 30;
  while (piece.size() > kBytesMax) {
    size_t cut = kBytesMax;
    while ((static_cast<unsigned char>(piece[cut]) & 0xC0) == 0x80) --cut;
    Encode(piece.substr(0, cut), ids);
    piece.remove_prefix(cut);
  }
  const std::vector<TokenId> first = FirstSymbols(piece);
  std::vector<Symbol> symbols(first.size());
  const auto count = static_cast<int32_t>(first.size());
  for (int32_t i = 0; i < count; ++i) symbols[i] = {first[i], i - 1, i + 1 < count ? i + 1 : -1};
  MergeAll(&symbols);
  for (const Symbol& symbol : symbols) {
    if (symbol.id >= 0) ids->push_back(symbol.id);
  }
}

}  // namespace concertina
