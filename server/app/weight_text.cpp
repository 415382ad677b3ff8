#include "server/app/weight_text.h"

#include "absl/strings/str_format.h"
#include "models/bundle/weight_copies.h"
#include "models/kernels/isa.h"

namespace concertina {
namespace {

constexpr double kGiga = 1e9;

std::string Rates(const TypeRates& rates) {
  return absl::StrFormat("%s %.1f GB/s %.0f GOP/s", std::string(MatrixTypeName(rates.type)),
                         rates.read_bytes_per_second / kGiga, rates.operations_per_second / kGiga);
}

std::string Copy(const WeightCopy& copy) {
  std::string text = absl::StrFormat("weights for %s: %s, %d MiB, %.2f bytes per parameter",
                                     RoleName(copy.role), std::string(MatrixTypeName(copy.type)),
                                     copy.bytes >> 20, copy.bytes_per_parameter());
  if (copy.rows_from > 1) absl::StrAppendFormat(&text, ", from %d rows on", copy.rows_from);
  if (copy.operations_per_second > 0) {
    absl::StrAppendFormat(&text, "; %.1f GB/s at 1 row, %.0f GOP/s at 256",
                          copy.read_bytes_per_second / kGiga, copy.operations_per_second / kGiga);
  }
  return text;
}

}  // namespace

std::vector<std::string> DescribeWeights(const Model& model) {
  std::vector<std::string> lines;
  if (!model.weights.rates.empty()) {
    std::string line = absl::StrFormat("types of weights measured with %s, at 1 row and at 256:",
                                       isa::Active().name);
    const char* separator = " ";
    for (const TypeRates& rates : model.weights.rates) {
      absl::StrAppendFormat(&line, "%s%s", separator, Rates(rates));
      separator = ", ";
    }
    lines.push_back(line);
  }
  for (const WeightCopy& copy : ListCopies(model)) lines.push_back(Copy(copy));
  return lines;
}

}  // namespace concertina
