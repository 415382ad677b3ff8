#pragma once

#include <string>

#include "concertina/v1/session.pb.h"

namespace concertina::client {

// Pieces of what the user says, in order: text, a picture's encoded file (PNG, JPEG, WebP), or a
// picture uploaded before.
inline v1::InputPart Text(std::string text) {
  v1::InputPart part;
  part.set_text(std::move(text));
  return part;
}

inline v1::InputPart ImageFile(std::string bytes) {
  v1::InputPart part;
  part.mutable_image()->set_data(std::move(bytes));
  return part;
}

inline v1::InputPart UploadedImage(std::string sha256) {
  v1::InputPart part;
  part.mutable_image()->set_sha256(std::move(sha256));
  return part;
}

// The same piece, to stay in the cache as it is (InputPart.pin).
inline v1::InputPart Pinned(v1::InputPart part) {
  part.set_pin(true);
  return part;
}

}  // namespace concertina::client
