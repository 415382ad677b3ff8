#include "models/tokenizer/score_model.h"

#include <algorithm>
#include <queue>

#include "models/tokenizer/utf8.h"

namespace concertina {
namespace {

struct Candidate {
  float score;
  int32_t left;
  size_t size;  // of the joined text, to notice that a side has changed

  bool operator<(const Candidate& other) const {
    return score != other.score ? score < other.score : left > other.left;
  }
};

}  // namespace

ScoreModel::ScoreModel(const Vocabulary* vocabulary, std::vector<float> scores,
                       std::vector<bool> joinable, std::optional<TokenId> unk)
    : vocabulary_(vocabulary),
      scores_(std::move(scores)),
      joinable_(std::move(joinable)),
      unk_(unk) {
  for (size_t id = 0; id < joinable_.size(); ++id) {
    if (joinable_[id]) longest_ = std::max(longest_, vocabulary_->pieces[id].size());
  }
}

std::optional<TokenId> ScoreModel::Find(std::string_view text) const {
  if (text.size() > longest_) return std::nullopt;
  const auto id = vocabulary_->Find(text);
  if (!id || !joinable_[*id]) return std::nullopt;
  return id;
}

void ScoreModel::JoinAll(std::vector<Symbol>* symbols) const {
  std::priority_queue<Candidate> queue;
  const auto consider = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const std::string_view a = (*symbols)[left].text;
    const std::string_view joined(a.data(), a.size() + (*symbols)[right].text.size());
    if (const auto id = Find(joined)) queue.push({scores_[*id], left, joined.size()});
  };
  const auto count = static_cast<int32_t>(symbols->size());
  for (int32_t i = 0; i + 1 < count; ++i) consider(i, i + 1);
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = (*symbols)[top.left];
    if (left.text.empty() || left.next < 0) continue;
    Symbol& right = (*symbols)[left.next];
    if (left.text.size() + right.text.size() != top.size) continue;
    left.text = std::string_view(left.text.data(), top.size);
    right.text = {};
    left.next = right.next;
    if (left.next >= 0) (*symbols)[left.next].previous = top.left;
    consider(left.previous, top.left);
    consider(top.left, left.next);
  }
}

void ScoreModel::AppendBytes(std::string_view text, std::vector<TokenId>* ids) const {
  for (char c : text) {
    const auto id = vocabulary_->Find(PieceOfByte(static_cast<unsigned char>(c)));
    if (id) {
      ids->push_back(*id);
    } else if (unk_) {
      ids->push_back(*unk_);
    }
  }
}

void ScoreModel::Encode(std::string_view piece, std::vector<TokenId>* ids) const {
  // Positions are 32 bit: a longer piece is encoded in parts.
  constexpr size_t kBytesMax = size_t{1} << 30;
  while (piece.size() > kBytesMax) {
    size_t cut = kBytesMax;
    while ((static_cast<unsigned char>(piece[cut]) & 0xC0) == 0x80) --cut;
    Encode(piece.substr(0, cut), ids);
    piece.remove_prefix(cut);
  }
  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (size_t i = 0; i < piece.size();) {
    const std::string_view character = piece.substr(i, Utf8Length(piece[i]));
    i += character.size();
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({character, index - 1, i < piece.size() ? index + 1 : -1});
  }
  JoinAll(&symbols);
  for (const Symbol& symbol : symbols) {
    if (symbol.text.empty()) continue;
    if (const auto id = Find(symbol.text)) {
      ids->push_back(*id);
    } else {
      AppendBytes(symbol.text, ids);
    }
  }
}

}  // namespace concertina
