#include "tests/golden/compare.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"

namespace concertina::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Of one row: the largest error at the k ids, and by how much the best of the others exceeds the
// k-th.
struct TopErrors {
  double values = 0;
  double outsider = 0;
};

TopErrors CompareTopRow(std::span<const float> row, std::span<const int32_t> ids,
                        std::span<const float> values) {
  TopErrors errors;
  std::vector<bool> listed(row.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || static_cast<size_t>(ids[i]) >= row.size()) return {kInfinity, kInfinity};
    const auto id = static_cast<size_t>(ids[i]);
    listed[id] = true;
    const double error = std::abs(double{row[id]} - double{values[i]});
    errors.values = std::isnan(error) ? kInfinity : std::max(errors.values, error);
  }
  const double last = *std::min_element(values.begin(), values.end());
  for (size_t id = 0; id < row.size(); ++id) {
    if (!listed[id]) errors.outsider = std::max(errors.outsider, double{row[id]} - last);
  }
  return errors;
}

}  // namespace

int64_t CountDiffering(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t common = std::min(a.size(), b.size());
  auto differing = static_cast<int64_t>(std::max(a.size(), b.size()) - common);
  for (size_t i = 0; i < common; ++i) differing += a[i] == b[i] ? 0 : 1;
  return differing;
}

void CompareFloats(const std::string& prefix, const std::string& quantity,
                   const std::vector<float>& actual, double tolerance, GoldenFolder* folder,
                   Report* report) {
  const std::string name = prefix + "/" + quantity;
  if (!folder->Has(name)) return;
  report->Error(quantity, MaxAbsDifference(actual, folder->Floats(name)), tolerance);
}

void CompareInts(const std::string& prefix, const std::string& quantity,
                 const std::vector<int32_t>& actual, GoldenFolder* folder, Report* report,
                 const std::string& label) {
  const std::string name = prefix + "/" + quantity;
  if (!folder->Has(name)) return;
  const std::vector<int32_t> expected = folder->Ints(name);
  const int64_t differing = CountDiffering(actual, expected);
  std::string detail;
  if (differing != 0) {
    const size_t common = std::min(actual.size(), expected.size());
    size_t first = 0;
    while (first < common && actual[first] == expected[first]) ++first;
    detail = absl::StrCat(actual.size(), " elements, expected ", expected.size(),
                          ", first difference at ", first);
  }
  report->Exact(label.empty() ? quantity : label, differing, detail);
}

void CompareText(const std::string& quantity, const std::string& actual,
                 const std::string& expected, Report* report) {
  const bool equal = actual == expected;
  report->Exact(quantity, equal ? 0 : 1,
                equal ? "" : absl::StrCat("'", actual, "' instead of '", expected, "'"));
}

void CompareTop(const std::string& prefix, const std::string& ids, const std::string& values,
                std::span<const float> logits, size_t vocab, double tolerance, GoldenFolder* folder,
                Report* report, const std::string& label) {
  if (!folder->Has(prefix + "/" + ids) || !folder->Has(prefix + "/" + values)) return;
  const std::vector<int32_t> expected_ids = folder->Ints(prefix + "/" + ids);
  const std::vector<float> expected = folder->Floats(prefix + "/" + values);
  const size_t rows = logits.size() / vocab;
  if (rows == 0 || expected.size() % rows != 0 || expected.size() != expected_ids.size()) {
    return report->Failed(label + values, "the number of rows differs");
  }
  const size_t k = expected.size() / rows;
  TopErrors worst;
  for (size_t row = 0; row < rows; ++row) {
    const TopErrors errors = CompareTopRow(logits.subspan(row * vocab, vocab),
                                           std::span(expected_ids).subspan(row * k, k),
                                           std::span(expected).subspan(row * k, k));
    worst.values = std::max(worst.values, errors.values);
    worst.outsider = std::max(worst.outsider, errors.outsider);
  }
  report->Error(label + values, worst.values, tolerance);
  report->Error(label + ids, worst.outsider, tolerance);
}

}  // namespace concertina::testing
