#include "models/tokenizer/text_decoder.h"

#include "models/tokenizer/byte_alphabet.h"
#include "models/tokenizer/utf8.h"
#include "models/tokenizer/vocabulary.h"

namespace concertina {

void ByteLevelDecoder::Step(std::string_view piece, DecodeState* state, std::string* out) const {
  AppendBytesOfPiece(piece, &state->held);
  state->held.erase(0, AppendUtf8Lossy(state->held, /*keep_cut_tail=*/true, out));
}

void ByteLevelDecoder::End(DecodeState* state, std::string* out) const {
  AppendUtf8Lossy(state->held, /*keep_cut_tail=*/false, out);
  state->held.clear();
}

std::string ByteLevelDecoder::Bytes(std::string_view piece, bool /*at_start*/) const {
  std::string bytes;
  AppendBytesOfPiece(piece, &bytes);
  return bytes;
}

std::string LlamaDecoder::Replaced(std::string_view piece) const {
  std::string text(piece);
  for (const auto& [pattern, content] : options_.replacements) {
    text = ReplaceAll(text, pattern, content);
  }
  return text;
}

void LlamaDecoder::Emit(std::string_view text, DecodeState* state, std::string* out) const {
  if (text.empty()) return;
  while (!state->started && state->stripped < options_.strip_max &&
         text.starts_with(options_.strip)) {
    text.remove_prefix(options_.strip.size());
    ++state->stripped;
  }
  if (text.empty()) return;
  state->started = true;
  out->append(text);
}

// The reference decides a run of byte tokens as a whole: all of it is text, or every byte of it is
// U+FFFD.
void LlamaDecoder::EmitHeldBytes(DecodeState* state, std::string* out) const {
  if (IsValidUtf8(state->held)) {
    Emit(state->held, state, out);
  } else {
    for (size_t i = 0; i < state->held.size(); ++i) Emit(kReplacementCharacter, state, out);
  }
  state->held.clear();
}

void LlamaDecoder::Step(std::string_view piece, DecodeState* state, std::string* out) const {
  const std::string text = Replaced(piece);
  const int byte = options_.byte_fallback ? ByteOfPiece(text) : -1;
  if (byte >= 0) {
    state->held.push_back(static_cast<char>(byte));
    return;
  }
  EmitHeldBytes(state, out);
  Emit(text, state, out);
}

void LlamaDecoder::End(DecodeState* state, std::string* out) const { EmitHeldBytes(state, out); }

std::string LlamaDecoder::Bytes(std::string_view piece, bool at_start) const {
  std::string text = Replaced(piece);
  const int byte = options_.byte_fallback ? ByteOfPiece(text) : -1;
  if (byte >= 0) return {static_cast<char>(byte)};
  for (int i = 0; at_start && i < options_.strip_max && text.starts_with(options_.strip); ++i) {
    text.erase(0, options_.strip.size());
  }
  return text;
}

}  // namespace concertina
