#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace concertina {

// How the fold of a later turn treats what earlier turns have kept. A turn is a prompt and its
// answer.
enum class TurnFold {
  kRefold,   // all entries are ranked again, whichever turn they are of
  kIsolate,  // earlier turns keep what they kept, the new one is folded to what the budget leaves
  kFair,     // every turn has entries in proportion to its tokens, ranked within the turn
};

// Tokens of a conversation, or of a prompt, one after the other.
struct TokenSpan {
  int64_t first = 0;
  int64_t count = 0;

  friend bool operator==(const TokenSpan&, const TokenSpan&) = default;
};

// Which of these spans, ascending and apart from each other, `token` lies in; null: in none.
const TokenSpan* SpanWith(int64_t token, std::span<const TokenSpan> spans);

// Pictures with a budget of their own, within the session's.
struct ImageFold {
  // Of a picture's tokens, in (0, 1]: the part that a fold leaves in a layer and head at most, and
  // one entry at least; 0: pictures are held to no more than the session's budget.
  double share = 0;
  // What goes is merged into the nearest entry of its picture that stays (picture_merge.h), and
  // attention counts an entry as often as it stands for tokens.
  bool merge = false;

  friend bool operator==(const ImageFold&, const ImageFold&) = default;
};

// What a conversation asks of its cache beside a budget: spans of tokens that stay whatever they
// are worth, a rule for its turns, and pictures that are held to a part of their tokens. Tokens are
// named by birth, so that rebases, forks and evictions leave it as it is. A value.
class TurnRules {
 public:
  // `image_share`: ImageFold::share.
  explicit TurnRules(TurnFold fold = TurnFold::kRefold, double image_share = 0)
      : fold_(fold), image_share_(image_share) {}

  TurnFold fold() const { return fold_; }
  // True: neither pins nor turns keep the policy from choosing among all entries.
  bool none() const { return fold_ == TurnFold::kRefold && pins_.empty(); }

  // A turn begins with the token `first`; `pins` and `pictures`, by birth, are those of its prompt.
  // REQUIRES: all behind all there were, pins ascending and apart from each other, so pictures.
  void BeginTurn(int64_t first, std::span<const TokenSpan> pins,
                 std::span<const TokenSpan> pictures = {});
  // Forgets all turns, pins and pictures.
  void Clear();

  // The first token of every turn, ascending.
  std::span<const int64_t> turn_starts() const { return turn_starts_; }
  std::span<const TokenSpan> pins() const { return pins_; }
  std::span<const TokenSpan> pictures() const { return pictures_; }
  // True: pictures have budgets of their own.
  bool limits_pictures() const { return image_share_ > 0 && !pictures_.empty(); }
  // Entries of a picture that a fold leaves in a layer and head at most. What is pinned stays
  // nevertheless.
  int32_t MostOf(const TokenSpan& picture) const;
  bool Pinned(int64_t birth) const;
  // Entries that stay in every layer and head in any case: the first, the newest and what is
  // pinned, which the newest of an answer never is.
  int32_t floor() const;

 private:
  TurnFold fold_;
  double image_share_;
  std::vector<TokenSpan> pins_;      // ascending
  std::vector<TokenSpan> pictures_;  // ascending
  int64_t pinned_ = 0;
  std::vector<int64_t> turn_starts_;
};

// TurnRules::floor() for `pinned` tokens in all.
int64_t FloorWithPins(int64_t pinned, bool first_pinned);

}  // namespace concertina
