#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace concertina {

// A folder for one test's files, removed with them at the end.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  // Writes a file and returns its path.
  std::string Write(std::string_view name, std::string_view bytes) const;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Appends the little-endian bytes of `value`.
template <typename T>
void Append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

template <typename T>
void AppendAll(std::string& bytes, std::initializer_list<T> values) {
  for (const T value : values) Append(bytes, value);
}

// Assembles GGUF files, faulty ones included: nothing is checked, and every count may be
// overridden.
class GgufBuilder {
 public:
  uint32_t version = 3;
  uint64_t extra_pairs = 0;  // added (mod 2^64) to the true counts in the header
  uint64_t extra_tensors = 0;
  uint64_t alignment = 32;  // used for padding; written only by AddUint32("general.alignment")

  void AddUint32(std::string_view key, uint32_t value);
  void AddString(std::string_view key, std::string_view value);
  // A key, a type number and whatever bytes the value shall have.
  void AddRaw(std::string_view key, uint32_t type, std::string_view encoded);
  // `ne` innermost first, as in the file.
  void AddTensor(std::string_view name, const std::vector<uint64_t>& ne, uint32_t ggml_type,
                 uint64_t offset);

  std::string Build(std::string_view data) const;

 private:
  std::string pairs_;
  std::string tensors_;
  uint64_t pair_count_ = 0;
  uint64_t tensor_count_ = 0;
};

// A length-prefixed string as GGUF stores it.
std::string GgufText(std::string_view text);

// An element type, a count and the elements' bytes: the encoded value of a GGUF array.
std::string GgufArray(uint32_t element_type, uint64_t count, std::string_view elements);

// A small valid GGUF file with every kind of metadata and several tensor types.
std::string SmallGguf();

// Header length, header and data. The header is not checked.
std::string SafetensorsBytes(std::string_view header, std::string_view data);

// A small valid safetensors file with F32, BF16, I64 and empty tensors.
std::string SmallSafetensors();

}  // namespace concertina
