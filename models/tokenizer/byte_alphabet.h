// GPT-2's alphabet: each byte is written as one printable character in byte-level vocabularies.
#pragma once

#include <string>
#include <string_view>

namespace concertina {

// The character (UTF-8) that stands for a byte: itself for the printable ones of Latin-1, U+0100..
// for the rest.
std::string_view ByteCharacter(unsigned char byte);

// Appends a text's bytes written in the alphabet.
void AppendByteCharacters(std::string_view bytes, std::string* out);

// Appends the bytes a vocabulary entry stands for; the entry's own bytes if any character is
// outside the alphabet, as the reference's decoder does.
void AppendBytesOfPiece(std::string_view piece, std::string* out);

}  // namespace concertina
