#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/image/image.h"

namespace concertina::testing {

using Bytes = std::vector<uint8_t>;

// Paths of fixtures. `DataPath` is the folder that gen_extra.py writes.
std::string DataPath(const std::string& name);
std::string GoldenPath(const std::string& name);

// These end the test program with a message when the file cannot be read or decoded: a missing
// fixture must never look like a passing test.
Bytes ReadBytes(const std::string& path);
nlohmann::json ReadJson(const std::string& path);
RgbImage DecodeFile(const std::string& path);

// All image files of data/, by name.
std::vector<std::string> DataImages();

// Largest absolute difference; infinite when the sizes differ.
double MaxDifference(const std::vector<float>& a, const std::vector<float>& b);
int MaxDifference(const Bytes& a, const Bytes& b);

// Parts of files, for hostile ones. `PngChunk` computes the CRC.
Bytes Concat(std::initializer_list<Bytes> parts);
Bytes Text(std::string_view text);
uint32_t Crc32(const Bytes& bytes);
Bytes PngChunk(std::string_view type, const Bytes& data);
Bytes PngHeader(uint32_t width, uint32_t height, uint8_t depth = 8, uint8_t color = 2);

}  // namespace concertina::testing
