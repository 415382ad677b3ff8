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

// What a conversation asks of its cache beside a budget: spans of tokens that stay whatever they
// are worth, and a rule for its turns. Tokens are named by birth, so that rebases, forks and
// evictions leave it as it is. A value.
class TurnRules {
 public:
  explicit TurnRules(TurnFold fold = TurnFold::kRefold) : fold_(fold) {}

  TurnFold fold() const { return fold_; }
  // True: what stays is for the policy alone to say.
  bool none() const { return fold_ == TurnFold::kRefold && pins_.empty(); }

  // A turn begins with the token `first`; `pins`, by birth, are those of its prompt. REQUIRES: both
  // behind all there were, pins ascending and apart from each other.
  void BeginTurn(int64_t first, std::span<const TokenSpan> pins);
  // Forgets all turns and pins.
  void Clear();

  // The first token of every turn, ascending.
  std::span<const int64_t> turn_starts() const { return turn_starts_; }
  std::span<const TokenSpan> pins() const { return pins_; }
  bool Pinned(int64_t birth) const;
  // Entries that stay in every layer and head in any case: the first, the newest and what is
  // pinned, which the newest of an answer never is.
  int32_t floor() const;

 private:
  TurnFold fold_;
  std::vector<TokenSpan> pins_;  // ascending
  int64_t pinned_ = 0;
  std::vector<int64_t> turn_starts_;
};

// TurnRules::floor() for `pinned` tokens in all.
int64_t FloorWithPins(int64_t pinned, bool first_pinned);

}  // namespace concertina
