#include <array>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cache/policies/builtin.h"

namespace concertina {
namespace {

struct Entry {
  std::string_view name;
  PolicyMaker make;
};

constexpr Entry kPolicies[] = {
    {"concertina", MakeConcertina},
    {"concertina-hq", MakeConcertinaHq},
    {"elastic", MakeElastic},
    {"full", MakeFull},
    {"h2o", MakeH2o},
    {"keydiff", MakeKeyDiff},
    {"local", MakeLocal},
    {"official", MakeOfficial},
    {"prefixkv", MakePrefixKv},
    {"random", MakeRandom},
    {"snapkv", MakeSnapKv},
};

constexpr auto kNames = [] {
  std::array<std::string_view, std::size(kPolicies)> names;
  for (size_t i = 0; i < names.size(); ++i) {
    names[i] = kPolicies[i].name;
  }
  return names;
}();

}  // namespace

absl::StatusOr<std::shared_ptr<const Policy>> MakePolicy(std::string_view name,
                                                         const PolicyOptions& options) {
  for (const Entry& entry : kPolicies) {
    if (entry.name == name) {
      return entry.make(options);
    }
  }
  // Debian's absl has a string_view of its own, so names are joined as strings.
  const std::vector<std::string> known(kNames.begin(), kNames.end());
  return absl::NotFoundError(
      absl::StrCat("unknown policy; known are ", absl::StrJoin(known, ", ")));
}

std::span<const std::string_view> PolicyNames() { return kNames; }

}  // namespace concertina
