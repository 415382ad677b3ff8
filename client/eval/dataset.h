#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "client/eval/record.h"

namespace concertina::eval {

// Where the pictures of a chat are said.
enum class ImageTurn {
  kAsData,  // as its record's image_turn says: "with" (the default), "apart" or "both"
  kWith,    // with the first question about them
  kApart,   // in a turn of their own before it
  kBoth,    // each such record twice
};

struct DatasetOptions {
  std::string name;    // of the file, for messages and names of records
  std::string folder;  // what paths of pictures are relative to; ends with '/' unless empty
  ImageTurn image_turn = ImageTurn::kAsData;
  size_t limit = 0;  // only so many records from the first on; 0: all
  // The bytes of a picture's file.
  std::function<absl::StatusOr<std::string>(const std::string& path)> read;
};

struct Dataset {
  std::vector<Record> records;
  int skipped = 0;  // token ids without anything to score
};

// A data set: one JSON list of records, or JSON Lines, one record a line (empty lines pass).
// docs/quality.md describes the records. Members that are not known are ignored. INVALID_ARGUMENT
// names the file, the line (of a list: the element, from 0) and what is wrong.
absl::StatusOr<Dataset> ParseDataset(std::string_view text, const DatasetOptions& options);

}  // namespace concertina::eval
