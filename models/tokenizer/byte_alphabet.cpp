#include "models/tokenizer/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "models/tokenizer/utf8.h"

namespace concertina {
namespace {

struct Alphabet {
  std::array<std::string, 256> character;
  std::array<int16_t, 0x144> byte;  // by code point, -1 where no byte has it

  Alphabet() {
    byte.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      const uint32_t code = printable ? b : next++;
      byte[code] = static_cast<int16_t>(b);
      if (code < 0x80) {
        character[b].push_back(static_cast<char>(code));
      } else {
        character[b].push_back(static_cast<char>(0xC0 | (code >> 6)));
        character[b].push_back(static_cast<char>(0x80 | (code & 0x3F)));
      }
    }
  }
};

const Alphabet& TheAlphabet() {
  static const Alphabet kAlphabet;
  return kAlphabet;
}

}  // namespace

std::string_view ByteCharacter(unsigned char byte) { return TheAlphabet().character[byte]; }

void AppendByteCharacters(std::string_view bytes, std::string* out) {
  for (char c : bytes) out->append(ByteCharacter(static_cast<unsigned char>(c)));
}

void AppendBytesOfPiece(std::string_view piece, std::string* out) {
  const Alphabet& alphabet = TheAlphabet();
  const size_t before = out->size();
  for (size_t i = 0; i < piece.size();) {
    const size_t length = Utf8Length(piece[i]);
    uint32_t code = static_cast<unsigned char>(piece[i]);
    if (length == 2 && i + 1 < piece.size()) {
      code = ((code & 0x1F) << 6) | (static_cast<unsigned char>(piece[i + 1]) & 0x3F);
    }
    if (length > 2 || code >= alphabet.byte.size() || alphabet.byte[code] < 0) {
      out->replace(before, std::string::npos, piece);
      return;
    }
    out->push_back(static_cast<char>(alphabet.byte[code]));
    i += length;
  }
}

}  // namespace concertina
