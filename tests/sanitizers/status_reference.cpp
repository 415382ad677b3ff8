#include "absl/status/status.h"

// absl::Status counts its references with atomics, which the thread sanitizer does not see in
// Debian's libabsl_status: every status that two threads had in turn would be reported when the
// last one lets go. This is the same function compiled with the sanitizer; it takes the place of
// the library's.

namespace absl {
ABSL_NAMESPACE_BEGIN

void Status::UnrefNonInlined(uintptr_t rep) {
  status_internal::StatusRep* counted = RepToPointer(rep);
  if (counted->ref.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    delete counted;
  }
}

ABSL_NAMESPACE_END
}  // namespace absl
