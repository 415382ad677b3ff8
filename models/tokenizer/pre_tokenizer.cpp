#include "models/tokenizer/pre_tokenizer.h"

#include "absl/strings/str_cat.h"
#include "models/tokenizer/utf8.h"

namespace concertina {
namespace {

using Context = Tokenizer::Context;
using Pieces = std::vector<std::string>;

struct Applier {
  const Pieces& in;
  Context context;
  Pieces out;

  // The first piece stands where the text stands, the others follow a piece of the same text; the
  // reference treats those like the start of a text, except where it asks for offset 0.
  bool follows_text(size_t i) const { return i == 0 && context == Context::kAfterText; }
  bool at_offset_zero(size_t i) const { return i == 0 && context == Context::kStart; }

  void operator()(const RegexStep& step) {
    std::vector<std::string_view> views;
    for (const std::string& piece : in) {
      views.clear();
      step.regex.Split(piece, &views);
      out.insert(out.end(), views.begin(), views.end());
    }
  }

  void operator()(const PrefixSpaceStep&) {
    for (size_t i = 0; i < in.size(); ++i) {
      const bool add = !follows_text(i) && !in[i].starts_with(" ");
      out.push_back(add ? absl::StrCat(" ", in[i]) : in[i]);
    }
  }

  void operator()(const MetaspaceStep& step) {
    for (size_t i = 0; i < in.size(); ++i) {
      std::string text = ReplaceAll(in[i], " ", step.replacement);
      const bool wanted = step.prepend == MetaspaceStep::Prepend::kAlways  ? !follows_text(i)
                          : step.prepend == MetaspaceStep::Prepend::kFirst ? at_offset_zero(i)
                                                                           : false;
      if (wanted && !text.starts_with(step.replacement)) text.insert(0, step.replacement);
      size_t begin = 0;
      while (step.split) {
        const size_t next = text.find(step.replacement, begin + 1);
        if (next == std::string::npos) break;
        out.push_back(text.substr(begin, next - begin));
        begin = next;
      }
      out.push_back(text.substr(begin));
    }
  }
};

}  // namespace

std::vector<std::string> PreTokenizer::Split(std::string_view text, Context context) const {
  Pieces pieces;
  if (text.empty()) return pieces;
  pieces.emplace_back(text);
  for (const PreTokenizerStep& step : steps_) {
    Applier applier{pieces, context, {}};
    std::visit(applier, step);
    pieces = std::move(applier.out);
  }
  return pieces;
}

}  // namespace concertina
