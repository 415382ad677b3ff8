"""The checks of tools/tidy on small texts that hold, or look as if they held, an offence."""

import os
import subprocess
import sys
import tempfile
import unittest

TOOLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "tidy")
sys.path.insert(0, TOOLS)
sys.dont_write_bytecode = True

import check  # noqa: E402
import clang_tidy  # noqa: E402
import cmake_lists  # noqa: E402
import functions  # noqa: E402
import layering  # noqa: E402
import texts  # noqa: E402

TRICKY = '''#pragma once
#define BLOCK(x) \\
  {              \\
    x;
// { a comment
/* { another
   { */
namespace concertina {
constexpr int kBig = 1'000'000;
const char kText[] = "{ \\" {";
const auto kRaw = R"json({"a": {)json";
constexpr char kBrace = '{';
const std::map<int, std::function<void(int)>> kTable = {
    {1, nullptr},
};
template <class T, class U = std::vector<T>>
class Box : public Base<T> {
 public:
  Box() : a_{1}, b_{2} {
    Run();
  }
  int size() const noexcept { return 1; }
  [[nodiscard]] Box& operator=(const Box& other) {
    return *this;
  }

 private:
  int a_{0};
};
enum class Kind : int { kOne, kTwo };
struct alignas(64) Line {
  int x = 0;
};
template <typename T>
requires std::integral<T>
T Twice(T value) {
  auto f = [&](int x) {
    return x;
  };
  return f(value) * 2;
}
}  // namespace concertina
TEST(Suite, Name) {
  EXPECT_EQ(1, 1);
}
extern "C" {
int main(int argc, char** argv) { return 0; }
}
'''


class FunctionsTest(unittest.TestCase):
    def test_finds_functions_only_and_measures_them(self):
        found = [(line, count) for line, count, _ in functions.find_functions(TRICKY)]
        lines = TRICKY.split("\n")
        starts = [lines[line - 1].strip()[:12] for line, _ in found]
        self.assertEqual(starts, ["Box() : a_{1", "int size() c", "[[nodiscard]", "requires std",
                                  "TEST(Suite, ", "int main(int"])
        self.assertEqual([count for _, count in found], [3, 1, 3, 7, 3, 1])

    def test_a_long_function_is_an_offence_and_a_long_class_is_none(self):
        body = "".join(f"  Call({i});\n" for i in range(60))
        long_function = "void Long() {\n" + body + "}\n"
        fitting_function = "void Fits() {\n" + body[:body.rindex("  Call(58)")] + "}\n"
        long_class = "class Long {\n" + body.replace("Call(", "void Call(int x").replace(
            ");", ") {}") + "};\n"
        self.assertEqual(len(list(check.check_length("a.cpp", long_function))), 1)
        self.assertEqual(list(check.check_length("a.cpp", fitting_function)), [])
        self.assertEqual(list(check.check_length("a.h", long_class)), [])

    def test_a_long_file_is_an_offence(self):
        self.assertEqual(list(check.check_length("a.proto", "\n" * 500)), [])
        self.assertEqual(len(list(check.check_length("a.proto", "\n" * 501))), 1)


class LayeringTest(unittest.TestCase):
    def offences(self, path, name):
        return len(layering.check_includes(path, [(1, name)]))

    def test_includes_go_downwards(self):
        for path, name in (("cache/a.cpp", "models/b.h"), ("models/a/b.h", "server/engine/c.h"),
                           ("server/engine/a.cpp", "server/rpc/b.h"),
                           ("server/metrics/a.h", "server/rpc/b.h"),
                           ("server/rpc/a.h", "server/app/b.h"), ("client/a.h", "models/b.h"),
                           ("server/app/a.h", "tests/support/b.h"), ("cache/a.h", "../models/b.h")):
            self.assertEqual(self.offences(path, name), 1, (path, name))
            self.assertEqual(self.offences(path, path.rsplit("/", 1)[0] + "/own.h"), 0)
        for path, name in (("models/a.h", "cache/b.h"), ("server/app/a.cpp", "server/rpc/b.h"),
                           ("tests/a.cpp", "server/app/b.h"), ("server/rpc/a.h", "server/metrics/b.h"),
                           ("cache/a.h", "vector"), ("client/a.h", "concertina/v1/b.pb.h")):
            self.assertEqual(self.offences(path, name), 0, (path, name))

    def test_remote_calls_stay_in_their_rooms(self):
        for name in ("grpcpp/grpcpp.h", "grpc/grpc.h", "google/protobuf/message.h"):
            for room in ("cache", "models/image", "server/engine", "server/metrics"):
                self.assertEqual(self.offences(f"{room}/a.cpp", name), 1, (room, name))
            for room in ("server/rpc", "server/app", "client", "tests/rpc", "bench"):
                self.assertEqual(self.offences(f"{room}/a.cpp", name), 0, (room, name))


class TextsTest(unittest.TestCase):
    def test_places_of_one_machine_are_found(self):
        for text in ("see /wor" "k/main", '"/wor' 'k"', "cp /tm" "p/w/x .", "../sha" "red/design.md",
                     "https://py" "pi.org/simple"):
            self.assertEqual(len(texts.forbidden_texts("line\n" + text)), 1, text)
            self.assertEqual(texts.forbidden_texts("line\n" + text)[0][0], 2)

    def test_lookalikes_are_not(self):
        for text in ("a/network/work.h", "src/work/x", "/workspace", "/tmp/work", "../shared_ptr",
                     "PyPI wheel", "/tmp/wide"):
            self.assertEqual(texts.forbidden_texts(text), [], text)


class CMakeListsTest(unittest.TestCase):
    def test_sources_that_no_list_names(self):
        lists = {"a/CMakeLists.txt": "add_library(x one.cpp sub/two.cpp\n  # four.cpp\n)\n",
                 "b/CMakeLists.txt": 'foreach(n x)\n add_executable(${n} ${n}_test.cpp\n'
                                     '  ${CMAKE_SOURCE_DIR}/c/three.cpp)\nendforeach()\n'}
        files = ["a/one.cpp", "a/sub/two.cpp", "a/four.cpp", "b/x_test.cpp", "b/five.cpp",
                 "c/three.cpp", "a/one.h"]
        self.assertEqual(cmake_lists.unbuilt_sources(files, lists), ["a/four.cpp", "b/five.cpp"])


class ClangTidyTest(unittest.TestCase):
    def test_only_what_clang_needs_is_kept_of_a_command(self):
        command = ("cmake -E env A=1 ccache /usr/bin/g++ -DX=1 -I/src -isystem /gen -idirafter /torch "
                   "-O3 -Wall -fno-foo -fpch-preprocess -include pch.hxx -std=c++20 -march=native "
                   "-o a.o -c /src/a.cpp")
        self.assertEqual(clang_tidy.compiler_arguments(command),
                         ["-DX=1", "-I/src", "-isystem", "/gen", "-idirafter", "/torch",
                          "-std=c++20", "-march=native"])


class WholeTreeTest(unittest.TestCase):
    def test_offences_of_a_tree_are_listed_and_fail(self):
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.join(root, "cache"))
            files = {"cache/a.cpp": '#include "server/rpc/b.h"\n', "bad.sh": "if true; then\n",
                     "cache/CMakeLists.txt": "# nothing\n"}
            for path, text in files.items():
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            result = subprocess.run([sys.executable, os.path.join(TOOLS, "check.py"), "--root", root],
                                    capture_output=True, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertIn("cache/a.cpp:1: includes server/rpc/b.h", result.stdout)
        self.assertIn("cache/a.cpp: in no CMakeLists.txt", result.stdout)
        self.assertIn("bad.sh: bash -n", result.stdout)
        self.assertIn("3 files, 3 offences", result.stdout)


if __name__ == "__main__":
    unittest.main()
