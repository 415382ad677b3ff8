#pragma once

#include <string>
#include <vector>

#include "google/protobuf/message.h"

namespace concertina::testing {

// A numeric (or enum) field somewhere in a request.
struct NumberField {
  // From the request down; the last one is the number.
  std::vector<const google::protobuf::FieldDescriptor*> path;
  // "history[0].role", "timeout.seconds".
  std::string Name() const;
  // As BadRequest names it: a Duration is one value, "timeout".
  std::string ReportedName() const;
};

// All of a message, nested and repeated ones too; a message type is entered once on a path.
std::vector<NumberField> NumberFields(const google::protobuf::Descriptor& type);

// The extreme values of the field's type: "-1", "0", "min", "max", "nan", "inf", "-inf".
std::vector<std::string> ExtremeValues(const NumberField& field);

// Puts the value there; repeated fields on the way get a first element if they have none.
void SetNumber(const NumberField& field, const std::string& value,
               google::protobuf::Message* message);

}  // namespace concertina::testing
