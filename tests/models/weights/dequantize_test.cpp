#include "models/weights/dequantize.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "gtest/gtest.h"

namespace concertina {
namespace {

std::vector<float> FromHex(DType dtype, const std::string& hex, int64_t elements) {
  const std::string bytes = absl::HexStringToBytes(hex);
  std::vector<float> out(static_cast<size_t>(elements), -999.0F);
  Dequantize(dtype, reinterpret_cast<const uint8_t*>(bytes.data()), elements, out.data());
  return out;
}

// The definition, by way of std::ldexp.
float HalfByDefinition(uint16_t half) {
  const int exponent = (half >> 10) & 31;
  const int mantissa = half & 1023;
  const float sign = (half & 0x8000) != 0 ? -1.0F : 1.0F;
  if (exponent == 31) {
    return mantissa == 0 ? sign * std::numeric_limits<float>::infinity()
                         : std::numeric_limits<float>::quiet_NaN();
  }
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

TEST(Dequantize, EveryHalfIsExact) {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> out(halves.size());
  Dequantize(DType::kF16, reinterpret_cast<const uint8_t*>(halves.data()), 65536, out.data());
  for (size_t i = 0; i < halves.size(); ++i) {
    const float expected = HalfByDefinition(halves[i]);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(out[i])) << i;
    } else {
      EXPECT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(expected)) << i;
    }
  }
}

TEST(Dequantize, Bfloat16IsTheUpperHalf) {
  const std::vector<float> out = FromHex(DType::kBf16,
                                         "803f00c0"
                                         "0000"
                                         "807f"
                                         "0100",
                                         5);
  EXPECT_EQ(out[0], 1.0F);
  EXPECT_EQ(out[1], -2.0F);
  EXPECT_EQ(out[2], 0.0F);
  EXPECT_EQ(out[3], std::numeric_limits<float>::infinity());
  EXPECT_EQ(out[4], std::bit_cast<float>(0x00010000U));
}

TEST(Dequantize, UnalignedInput) {
  std::string bytes(1 + 4 * 3, '\0');
  const float values[] = {0.5F, -7.0F, 1e30F};
  std::memcpy(bytes.data() + 1, values, sizeof(values));
  float out[3] = {};
  Dequantize(DType::kF32, reinterpret_cast<const uint8_t*>(bytes.data()) + 1, 3, out);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(out[i], values[i]);
}

// d = 2, nibbles: byte j holds j in the low half and 15 - j in the high half.
const char kNibbles[] = "f0e1d2c3b4a5968778695a4b3c2d1e0f";

TEST(Dequantize, HandMadeQ4) {
  const std::vector<float> q4_0 = FromHex(DType::kQ4_0, std::string("0040") + kNibbles, 32);
  // m = -1
  const std::vector<float> q4_1 = FromHex(DType::kQ4_1, std::string("004000bc") + kNibbles, 32);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(q4_0[j], 2.0F * static_cast<float>(j - 8));
    EXPECT_EQ(q4_0[j + 16], 2.0F * static_cast<float>(15 - j - 8));
    EXPECT_EQ(q4_1[j], 2.0F * static_cast<float>(j) - 1.0F);
    EXPECT_EQ(q4_1[j + 16], 2.0F * static_cast<float>(15 - j) - 1.0F);
  }
}

TEST(Dequantize, HandMadeQ5) {
  // Fifth bits of elements 0, 1, 15, 16 and 31.
  const std::string fifth_bits = "03800180";
  const auto fifth = [](int element) {
    return element <= 1 || element == 15 || element == 16 || element == 31 ? 16 : 0;
  };
  const std::vector<float> q5_0 = FromHex(DType::kQ5_0, "0040" + fifth_bits + kNibbles, 32);
  const std::vector<float> q5_1 = FromHex(DType::kQ5_1, "004000bc" + fifth_bits + kNibbles, 32);
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(q5_0[j], 2.0F * static_cast<float>(j + fifth(j) - 16)) << j;
    EXPECT_EQ(q5_0[j + 16], 2.0F * static_cast<float>(15 - j + fifth(j + 16) - 16)) << j;
    EXPECT_EQ(q5_1[j], 2.0F * static_cast<float>(j + fifth(j)) - 1.0F) << j;
    EXPECT_EQ(q5_1[j + 16], 2.0F * static_cast<float>(15 - j + fifth(j + 16)) - 1.0F) << j;
  }
}

struct ReferenceBlock {
  DType dtype;
  const char* hex;
  std::vector<float> first;  // elements 0..3
  std::vector<float> last;   // elements 28..31
};

// Blocks quantised and dequantised by ggml's Python package (gguf 0.19.0):
//   from gguf.quants import quantize, dequantize; from gguf import GGMLQuantizationType as T
//   rng = numpy.random.default_rng(7)
//   for n in ['Q4_0', 'Q4_1', 'Q5_0', 'Q5_1', 'Q8_0']:
//     q = quantize(rng.standard_normal((1, 32)).astype('f4'), T[n])
//     print(q.tobytes().hex(), dequantize(q, T[n]))
TEST(Dequantize, EqualsGgmlsReference) {
  const ReferenceBlock blocks[] = {
      {DType::kQ4_0,
       "0935487927452775489c86760a698885386a",
       {0.0F, 0.314697265625F, -0.314697265625F, -0.944091796875F},
       {0.0F, 0.0F, -1.573486328125F, -0.62939453125F}},
      {DType::kQ4_1,
       "913330be42f3ab13769a64966797d1477c507a27",
       {-1.073974609375F, -0.8375244140625F, 1.0540771484375F, -0.8375244140625F},
       {0.1082763671875F, -0.3646240234375F, 0.1082763671875F, -1.073974609375F}},
      {DType::kQ5_0,
       "f82f4c8c44efdbee37f9e57a05c09c5f0a56dd8d0e5c",
       {-0.62255859375F, -0.2490234375F, 0.87158203125F, 1.12060546875F},
       {-0.37353515625F, 0.99609375F, 0.0F, 0.62255859375F}},
      {DType::kQ5_1,
       "843042c0c2ccd0a186f2f3811d99600f09bbe1137e2e0453",
       {-1.2822265625F, 0.4111328125F, -1.70556640625F, -1.98779296875F},
       {-1.14111328125F, 0.4111328125F, -2.12890625F, 0.83447265625F}},
      {DType::kQ8_0,
       "0a238137c3390a905b69fbecf4b950d9fcc6d2a35bf54601cde8d701e5ea9cc578cf",
       {-1.7460174560546875F, 0.7561492919921875F, -0.8386383056640625F, 0.7836456298828125F},
       {-1.37481689453125F, -0.8111419677734375F, 1.6497802734375F, -0.6736602783203125F}},
  };
  for (const ReferenceBlock& block : blocks) {
    const std::vector<float> out = FromHex(block.dtype, block.hex, 32);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(out[i], block.first[i]) << DTypeName(block.dtype) << " " << i;
      EXPECT_EQ(out[28 + i], block.last[i]) << DTypeName(block.dtype) << " " << 28 + i;
    }
  }
}

TEST(Dequantize, SizesAreChecked) {
  EXPECT_EQ(CheckedBytes(DType::kQ4_1, {3, 64}), 3U * 2U * 20U);
  EXPECT_EQ(CheckedBytes(DType::kF16, {}), 2U);
  EXPECT_EQ(CheckedBytes(DType::kF32, {0, 5}), 0U);
  EXPECT_EQ(CheckedBytes(DType::kQ8_0, {64, 33}), std::nullopt);  // rows, not the total, are blocks
  EXPECT_EQ(CheckedBytes(DType::kOther, {1}), std::nullopt);
  EXPECT_EQ(CheckedBytes(DType::kF32, {int64_t{1} << 31, int64_t{1} << 31}), std::nullopt);
  EXPECT_EQ(CheckedElements({int64_t{1} << 32, int64_t{1} << 31}), std::nullopt);
  EXPECT_EQ(CheckedElements({0, int64_t{1} << 62, int64_t{1} << 62}), std::nullopt);
  EXPECT_EQ(CheckedElements({-1}), std::nullopt);
  EXPECT_EQ(CheckedElements({}), 1);
}

}  // namespace
}  // namespace concertina
