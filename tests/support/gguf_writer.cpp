#include "tests/support/gguf_writer.h"

#include <fstream>

namespace concertina::testing {
namespace {

constexpr size_t kAlignment = 32;  // GGUF's default

template <typename T>
void Append(T value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendString(const std::string& text, std::string* out) {
  Append<uint64_t>(text.size(), out);
  out->append(text);
}

void Align(std::string* out) {
  out->resize((out->size() + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace

void GgufWriter::AddKey(const std::string& key, uint32_t type) {
  AppendString(key, &metadata_);
  Append(type, &metadata_);
  ++metadata_count_;
}

void GgufWriter::AddString(const std::string& key, const std::string& value) {
  AddKey(key, 8);
  AppendString(value, &metadata_);
}

void GgufWriter::AddUint(const std::string& key, uint32_t value) {
  AddKey(key, 4);
  Append(value, &metadata_);
}

void GgufWriter::AddFloat(const std::string& key, float value) {
  AddKey(key, 6);
  Append(value, &metadata_);
}

void GgufWriter::AddTensor(const std::string& name, const std::vector<int64_t>& shape,
                           const std::vector<float>& values) {
  tensors_.push_back({name, shape, values});
}

bool GgufWriter::Write(const std::string& path) const {
  std::string header = "GGUF";
  Append<uint32_t>(3, &header);
  Append<uint64_t>(tensors_.size(), &header);
  Append<uint64_t>(metadata_count_, &header);
  header += metadata_;
  std::string data;
  for (const Tensor& tensor : tensors_) {
    AppendString(tensor.name, &header);
    Append<uint32_t>(static_cast<uint32_t>(tensor.shape.size()), &header);
    for (auto it = tensor.shape.rbegin(); it != tensor.shape.rend(); ++it) {
      Append<uint64_t>(static_cast<uint64_t>(*it), &header);
    }
    Append<uint32_t>(0, &header);  // f32
    Align(&data);
    Append<uint64_t>(data.size(), &header);
    data.append(reinterpret_cast<const char*>(tensor.values.data()),
                tensor.values.size() * sizeof(float));
  }
  Align(&header);
  std::ofstream file(path, std::ios::binary);
  file << header << data;
  return file.good();
}

}  // namespace concertina::testing
