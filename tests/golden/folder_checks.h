#pragma once

#include <string>

#include "absl/status/status.h"
#include "tests/golden/folder.h"
#include "tests/golden/installed_model.h"
#include "tests/golden/report.h"

namespace concertina::testing {

// One function for each kind of folder. They report every quantity and return an error only when
// nothing can be compared at all.

// A LLaVA or Llama checkpoint (kCheckpoint).
absl::Status CheckCheckpoint(GoldenFolder* folder, Report* report);

// Text goldens of an installed model (kInstalledText).
absl::Status CheckInstalledText(const InstalledModels& models, GoldenFolder* folder,
                                Report* report);

// Conversations about pictures of the bundled model (kBundledModel).
absl::Status CheckBundledModel(const InstalledModels& models, GoldenFolder* folder, Report* report);

// Sizes and pixels (kPreprocessing): the LLaVA part.
absl::Status CheckPreprocessing(GoldenFolder* folder, Report* report);

// Cache policies (kElastic): the paper and the code published with it.
absl::Status CheckElastic(GoldenFolder* folder, Report* report);

}  // namespace concertina::testing
