#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tests/golden/folder.h"
#include "tests/golden/report.h"

namespace concertina::testing {

// Tolerances of tests/goldens/README.md, f32.
inline constexpr double kPixelTolerance = 1e-6;
inline constexpr double kFeatureTolerance = 2e-4;          // features, hidden states, K, V
inline constexpr double kTinyLogitTolerance = 5e-4;        // the random checkpoints
inline constexpr double kSmolLogitTolerance = 2e-3;        // 30 layers
inline constexpr double kColumnSumTolerancePerRow = 1e-4;  // times the prompt's tokens

// Elements that differ, the missing ones included.
int64_t CountDiffering(std::span<const int32_t> a, std::span<const int32_t> b);

// One line for `actual` against the values stored as `<prefix>/<quantity>`; none when the folder
// has none.
void CompareFloats(const std::string& prefix, const std::string& quantity,
                   const std::vector<float>& actual, double tolerance, GoldenFolder* folder,
                   Report* report);
// `label`: how the line is called, if not `quantity`.
void CompareInts(const std::string& prefix, const std::string& quantity,
                 const std::vector<int32_t>& actual, GoldenFolder* folder, Report* report,
                 const std::string& label = {});
void CompareText(const std::string& quantity, const std::string& actual,
                 const std::string& expected, Report* report);

// Rows of logits [rows, vocab] against their k best as stored: `values` [rows, k] at `ids`
// [rows, k]; and that nothing else is among the best. Which of two nearly equal ids comes first is
// not compared. `label`: goes before the names in the lines.
void CompareTop(const std::string& prefix, const std::string& ids, const std::string& values,
                std::span<const float> logits, size_t vocab, double tolerance, GoldenFolder* folder,
                Report* report, const std::string& label = {});

}  // namespace concertina::testing
