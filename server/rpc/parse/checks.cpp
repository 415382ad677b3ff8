#include "server/rpc/parse/checks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/engine/errors.h"

namespace concertina {
namespace {

bool IsLowerHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

}  // namespace

bool IsUuidV4(std::string_view id) {
  constexpr std::string_view kForm = "xxxxxxxx-xxxx-4xxx-vxxx-xxxxxxxxxxxx";
  if (id.size() != kForm.size()) return false;
  for (size_t i = 0; i < id.size(); ++i) {
    switch (kForm[i]) {
      case 'x':
        if (!IsLowerHex(id[i])) return false;
        break;
      case 'v':
        if (id[i] != '8' && id[i] != '9' && id[i] != 'a' && id[i] != 'b') return false;
        break;
      default:
        if (id[i] != kForm[i]) return false;
    }
  }
  return true;
}

bool IsSha256(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), IsLowerHex);
}

absl::Status CheckSessionId(std::string_view id) {
  if (IsUuidV4(id)) return absl::OkStatus();
  return FieldError("session_id", "must be a UUIDv4 in lower case");
}

absl::Status CheckRange(std::string_view field, double value, double low, double high) {
  // Written so that NaN fails.
  if (value >= low && value <= high) return absl::OkStatus();
  return FieldError(field, absl::StrCat("must be in [", low, ", ", high, "]"));
}

absl::Status CheckRange(std::string_view field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return FieldError(field, absl::StrCat("must be in [", low, ", ", high, "]"));
}

std::string Indexed(std::string_view field, int64_t index) {
  return absl::StrCat(absl::string_view(field.data(), field.size()), "[", index, "]");
}

}  // namespace concertina
