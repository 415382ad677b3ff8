#include "tests/hostile/number_fields.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace concertina::testing {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

bool IsNumber(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
    case FieldDescriptor::CPPTYPE_STRING:
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return false;
    default:
      return true;
  }
}

bool IsOfDuration(const FieldDescriptor& field) {
  return field.containing_type()->full_name() == "google.protobuf.Duration";
}

void Walk(const Descriptor& type, std::vector<const FieldDescriptor*>& path,
          std::vector<NumberField>& out) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    path.push_back(field);
    if (IsNumber(*field)) {
      out.push_back({path});
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      const bool entered = std::any_of(path.begin(), path.end() - 1, [&](const auto* at) {
        return at->message_type() == field->message_type();
      });
      if (!entered) Walk(*field->message_type(), path, out);
    }
    path.pop_back();
  }
}

// "-1", "0", "min", "max" of an integer type.
template <typename T>
T Integer(const std::string& value) {
  if (value == "min") return std::numeric_limits<T>::min();
  if (value == "max") return std::numeric_limits<T>::max();
  return value == "-1" ? static_cast<T>(-1) : T{0};
}

template <typename T>
T Real(const std::string& value) {
  if (value == "min") return std::numeric_limits<T>::lowest();
  if (value == "max") return std::numeric_limits<T>::max();
  if (value == "nan") return std::numeric_limits<T>::quiet_NaN();
  if (value == "inf") return std::numeric_limits<T>::infinity();
  if (value == "-inf") return -std::numeric_limits<T>::infinity();
  return value == "-1" ? T{-1} : T{0};
}

// The message that holds the number.
Message* Holder(const NumberField& field, Message* message) {
  for (size_t i = 0; i + 1 < field.path.size(); ++i) {
    const Reflection* reflection = message->GetReflection();
    const FieldDescriptor* step = field.path[i];
    if (!step->is_repeated()) {
      message = reflection->MutableMessage(message, step);
    } else if (reflection->FieldSize(*message, step) == 0) {
      message = reflection->AddMessage(message, step);
    } else {
      message = reflection->MutableRepeatedMessage(message, step, 0);
    }
  }
  return message;
}

void SetSingular(const std::string& value, const FieldDescriptor* field, Message* holder) {
  const Reflection* reflection = holder->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection->SetInt32(holder, field, Integer<int32_t>(value));
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection->SetInt64(holder, field, Integer<int64_t>(value));
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection->SetUInt32(holder, field, Integer<uint32_t>(value));
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection->SetUInt64(holder, field, Integer<uint64_t>(value));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection->SetFloat(holder, field, Real<float>(value));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection->SetDouble(holder, field, Real<double>(value));
    default:
      return reflection->SetEnumValue(holder, field, Integer<int32_t>(value));
  }
}

// The first element, the only type of repeated numbers the API has.
void SetFirst(const std::string& value, const FieldDescriptor* field, Message* holder) {
  const Reflection* reflection = holder->GetReflection();
  reflection->ClearField(holder, field);
  reflection->AddInt32(holder, field, Integer<int32_t>(value));
}

}  // namespace

std::string NumberField::Name() const {
  std::string name = ReportedName();
  if (IsOfDuration(*path.back())) name += "." + path.back()->name();
  return name;
}

std::string NumberField::ReportedName() const {
  std::string name;
  for (const FieldDescriptor* step : path) {
    if (IsOfDuration(*step)) break;
    if (!name.empty()) name += ".";
    name += step->name();
    if (step->is_repeated()) name += "[0]";
  }
  return name;
}

std::vector<NumberField> NumberFields(const Descriptor& type) {
  std::vector<NumberField> out;
  std::vector<const FieldDescriptor*> path;
  Walk(type, path, out);
  return out;
}

std::vector<std::string> ExtremeValues(const NumberField& field) {
  switch (field.path.back()->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return {"0", "max"};
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return {"-1", "0", "min", "max", "nan", "inf", "-inf"};
    default:
      return {"-1", "0", "min", "max"};
  }
}

void SetNumber(const NumberField& field, const std::string& value, Message* message) {
  Message* holder = Holder(field, message);
  if (field.path.back()->is_repeated()) return SetFirst(value, field.path.back(), holder);
  SetSingular(value, field.path.back(), holder);
}

}  // namespace concertina::testing
