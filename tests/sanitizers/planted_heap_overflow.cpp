#include <cstdio>
#include <vector>

// Reads the element after the last of a heap block.

int main() {
  std::vector<int> values(8, 1);
  const volatile size_t index = values.size();
  std::printf("%d\n", values.data()[index]);
  return 0;
}
