#pragma once

#include <vector>

#include "server/app/setting.h"

namespace concertina {

// Every setting there is, in the order of --help.
const std::vector<Setting>& Settings();

}  // namespace concertina
