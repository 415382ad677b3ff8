#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/bundle/model.h"
#include "tests/golden/conversation.h"
#include "tests/golden/folder.h"
#include "tests/golden/report.h"

namespace concertina::testing {

// The picture files of a case as the server prepares them. Errors name the file.
absl::StatusOr<PreparedImages> LoadPictures(const Model& model,
                                            const std::vector<std::string>& paths);

// Encodes the pictures and compares `<prefix>/pixel_values`, vision_hidden.N (of the first picture)
// and image_features. Returns the features [rows, hidden].
std::vector<float> CheckVision(const Model& model, const PreparedImages& images,
                               const std::string& prefix, GoldenFolder* folder, Report* report);

}  // namespace concertina::testing
