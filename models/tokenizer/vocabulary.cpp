#include "models/tokenizer/vocabulary.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"

namespace concertina {

int ByteOfPiece(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  int value = 0;
  for (char c : piece.substr(3, 2)) {
    const auto digit = static_cast<unsigned char>(c);
    if (!absl::ascii_isxdigit(digit)) return -1;
    value =
        value * 16 + (absl::ascii_isdigit(digit) ? c - '0' : absl::ascii_tolower(digit) - 'a' + 10);
  }
  return value;
}

std::string PieceOfByte(unsigned char byte) { return absl::StrFormat("<0x%02X>", byte); }

}  // namespace concertina
