#include "models/tokenizer/pipeline_tokenizer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "models/tokenizer/utf8.h"

namespace concertina {
namespace {

using Range = AddedTokens::Range;

class PipelineTokenizer final : public Tokenizer {
 public:
  PipelineTokenizer(PipelineParts parts, const TokenizerFacts& facts)
      : Tokenizer(facts), parts_(std::move(parts)) {
    text_ = parts_.vocabulary->pieces;
    text_.resize(facts.vocab_size);
    special_.resize(facts.vocab_size);
    for (const AddedToken& token : parts_.added.tokens()) {
      // A normalized token is also decoded from its normalized spelling.
      text_[token.id] =
          token.normalized ? parts_.normalizer.Apply(token.content, true) : token.content;
      special_[token.id] = token.special;
      added_ids_.emplace(token.content, token.id);
    }
  }

  std::vector<TokenId> EncodeSpans(std::span<const Span> spans, Context context) const override;

  void DecodeStep(TokenId id, bool skip_special, DecodeState* state,
                  std::string* out) const override {
    if (!IsKnown(id) || (skip_special && special_[id])) return;
    parts_.decoder->Step(text_[id], state, out);
  }

  void DecodeEnd(DecodeState* state, std::string* out) const override {
    parts_.decoder->End(state, out);
  }

  void AppendBytes(TokenId id, bool at_start, std::string* out) const override {
    if (IsKnown(id)) out->append(parts_.decoder->Bytes(text_[id], at_start));
  }

  std::optional<TokenId> Find(std::string_view piece) const override {
    const auto found = added_ids_.find(piece);
    if (found != added_ids_.end()) return found->second;
    return parts_.vocabulary->Find(piece);
  }

  bool IsSpecial(TokenId id) const override { return IsKnown(id) && special_[id]; }

 private:
  bool IsKnown(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < text_.size(); }
  void EncodePlain(std::string_view text, const std::vector<Range>& ranges, Context context,
                   std::vector<TokenId>* ids) const;
  void EncodeNormalized(std::string_view text, Context context, std::vector<TokenId>* ids) const;

  PipelineParts parts_;
  std::vector<std::string> text_;  // spelling by id, added tokens included
  std::vector<bool> special_;
  TextMap<TokenId> added_ids_;
};

void PipelineTokenizer::EncodeNormalized(std::string_view text, Context context,
                                         std::vector<TokenId>* ids) const {
  for (const std::string& piece : parts_.pre_tokenizer.Split(text, context)) {
    parts_.model->Encode(piece, ids);
  }
}

// `text` lies between added tokens; `ranges` are where added tokens may still match after
// normalization.
void PipelineTokenizer::EncodePlain(std::string_view text, const std::vector<Range>& ranges,
                                    Context context, std::vector<TokenId>* ids) const {
  const bool prepend = context != Context::kAfterText;
  const std::string normalized = parts_.normalizer.Apply(text, prepend);
  if (!parts_.added.has_normalized() || ranges.empty())
    return EncodeNormalized(normalized, context, ids);
  std::vector<Range> normalized_ranges;
  const auto mapped = [&](size_t offset) {
    if (offset == 0 || offset == text.size()) return offset == 0 ? 0 : normalized.size();
    return std::min(normalized.size(),
                    parts_.normalizer.Apply(text.substr(0, offset), prepend).size());
  };
  for (const auto& [begin, end] : ranges)
    normalized_ranges.emplace_back(mapped(begin), mapped(end));
  for (const auto& segment :
       parts_.added.Split(normalized, normalized_ranges, /*normalized=*/true)) {
    if (segment.id == AddedTokens::kNone) {
      EncodeNormalized(
          std::string_view(normalized).substr(segment.begin, segment.end - segment.begin),
          segment.begin == 0 ? context : Context::kAfterSpecial, ids);
    } else {
      ids->push_back(segment.id);
    }
  }
}

std::vector<Range> Inside(const std::vector<Range>& ranges, size_t begin, size_t end) {
  std::vector<Range> inside;
  for (const auto& [first, last] : ranges) {
    const size_t from = std::max(first, begin), to = std::min(last, end);
    if (from < to) inside.emplace_back(from - begin, to - begin);
  }
  return inside;
}

std::vector<TokenId> PipelineTokenizer::EncodeSpans(std::span<const Span> spans,
                                                    Context context) const {
  std::string text;
  std::vector<Range> ranges;  // where added tokens may match
  for (const Span& span : spans) {
    const size_t begin = text.size();
    AppendUtf8Lossy(span.text, /*keep_cut_tail=*/false, &text);
    if (span.special == Special::kInert || begin == text.size()) continue;
    if (!ranges.empty() && ranges.back().second == begin) {
      ranges.back().second = text.size();
    } else {
      ranges.emplace_back(begin, text.size());
    }
  }
  std::vector<TokenId> ids;
  for (const auto& segment : parts_.added.Split(text, ranges, /*normalized=*/false)) {
    if (segment.id != AddedTokens::kNone) {
      ids.push_back(segment.id);
      continue;
    }
    EncodePlain(std::string_view(text).substr(segment.begin, segment.end - segment.begin),
                Inside(ranges, segment.begin, segment.end),
                segment.begin == 0 ? context : Context::kAfterSpecial, &ids);
  }
  return ids;
}

// The number of ids, or why they do not fit.
absl::StatusOr<size_t> CheckedSize(const PipelineParts& parts) {
  // Real vocabularies have small gaps at most; a huge id must not make a huge table.
  const size_t limit = parts.vocabulary->pieces.size() + parts.added.tokens().size() + 65536;
  size_t size = parts.vocabulary->pieces.size();
  absl::flat_hash_map<TokenId, std::string_view> seen;
  for (const AddedToken& token : parts.added.tokens()) {
    if (token.id < 0 || static_cast<size_t>(token.id) >= limit) {
      return absl::InvalidArgumentError(absl::StrCat("added token '", token.content, "': id ",
                                                     token.id, " is outside the vocabulary"));
    }
    const auto own = parts.vocabulary->Find(token.content);
    const bool taken = static_cast<size_t>(token.id) < parts.vocabulary->pieces.size() &&
                       !parts.vocabulary->pieces[token.id].empty() &&
                       parts.vocabulary->pieces[token.id] != token.content;
    if (taken || (own && *own != token.id) || !seen.emplace(token.id, token.content).second) {
      return absl::InvalidArgumentError(absl::StrCat("added token '", token.content, "': id ",
                                                     token.id, " belongs to another token"));
    }
    size = std::max(size, static_cast<size_t>(token.id) + 1);
  }
  for (const auto& id : {parts.bos, parts.eos, parts.unk}) {
    if (id && (*id < 0 || static_cast<size_t>(*id) >= size)) {
      return absl::InvalidArgumentError(
          absl::StrCat("bos, eos or unk: ", *id, " is no token's id"));
    }
  }
  if (parts.adds_bos && !parts.bos) {
    return absl::InvalidArgumentError("the tokenizer adds a BOS token but names none");
  }
  return size;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakePipelineTokenizer(PipelineParts parts) {
  const absl::StatusOr<size_t> size = CheckedSize(parts);
  if (!size.ok()) return size.status();
  const TokenizerFacts facts{static_cast<TokenId>(*size), parts.bos, parts.eos, parts.unk,
                             parts.adds_bos};
  return std::make_unique<PipelineTokenizer>(std::move(parts), facts);
}

}  // namespace concertina
