#include "client/cli/line_reader.h"

#include <histedit.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <clocale>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <utility>

namespace concertina::cli {
namespace {

constexpr size_t kMaxLineBytes = 1 << 20;
constexpr int kHistoryLines = 1000;
constexpr char kPrompt[] = "> ";

enum class Wait { kReadable, kInterrupted, kFailed };

Wait WaitForInput(Interrupts& interrupts) {
  while (true) {
    std::array<pollfd, 2> fds{{{STDIN_FILENO, POLLIN, 0}, {interrupts.fd(), POLLIN, 0}}};
    if (poll(fds.data(), fds.size(), -1) < 0) return Wait::kFailed;
    if (fds[1].revents != 0 && interrupts.Take() != 0) return Wait::kInterrupted;
    if (fds[0].revents != 0) return Wait::kReadable;
  }
}

// From a pipe or a file.
class PlainLineReader final : public LineReader {
 public:
  explicit PlainLineReader(Interrupts& interrupts) : interrupts_(interrupts) {}
  bool interactive() const override { return false; }

  LineStatus Read(std::string* line) override {
    while (true) {
      const size_t end = buffer_.find('\n');
      if (end != std::string::npos || buffer_.size() >= kMaxLineBytes) {
        *line = buffer_.substr(0, end);
        buffer_.erase(0, end == std::string::npos ? buffer_.size() : end + 1);
        return LineStatus::kLine;
      }
      switch (WaitForInput(interrupts_)) {
        case Wait::kInterrupted:
          return LineStatus::kInterrupted;
        case Wait::kFailed:
          return LineStatus::kEnd;
        case Wait::kReadable:
          break;
      }
      if (!Fill()) {
        *line = std::exchange(buffer_, "");
        return line->empty() ? LineStatus::kEnd : LineStatus::kLine;
      }
    }
  }

 private:
  bool Fill() {
    std::array<char, 4096> bytes{};
    const ssize_t count = read(STDIN_FILENO, bytes.data(), bytes.size());
    if (count <= 0) return false;
    buffer_.append(bytes.data(), static_cast<size_t>(count));
    return true;
  }

  Interrupts& interrupts_;
  std::string buffer_;
};

// libedit works in wide characters of the locale: one of UTF-8 is needed.
void UseUtf8() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

// From a terminal, through libedit.
class EditLineReader final : public LineReader {
 public:
  explicit EditLineReader(Interrupts& interrupts) : interrupts_(interrupts) {
    UseUtf8();
    history_ = history_init();
    HistEvent event;
    history(history_, &event, H_SETSIZE, kHistoryLines);
    history(history_, &event, H_SETUNIQUE, 1);
    edit_ = el_init("concertina", stdin, stdout, stderr);
    el_set(edit_, EL_CLIENTDATA, this);
    el_set(edit_, EL_PROMPT, &Prompt);
    el_set(edit_, EL_EDITOR, "emacs");
    el_set(edit_, EL_HIST, history, history_);
    el_set(edit_, EL_GETCFN, &GetCharacter);
  }

  ~EditLineReader() override {
    el_end(edit_);
    history_end(history_);
  }
  EditLineReader(const EditLineReader&) = delete;
  EditLineReader& operator=(const EditLineReader&) = delete;

  bool interactive() const override { return true; }

  LineStatus Read(std::string* line) override {
    interrupted_ = false;
    el_resize(edit_);
    int count = 0;
    const char* text = el_gets(edit_, &count);
    if (interrupted_) return LineStatus::kInterrupted;
    if (text == nullptr || count <= 0) return LineStatus::kEnd;
    line->assign(text);
    if (line->ends_with('\n')) line->pop_back();
    HistEvent event;
    if (!line->empty()) history(history_, &event, H_ENTER, line->c_str());
    return LineStatus::kLine;
  }

 private:
  static char* Prompt(EditLine* /*edit*/) {
    static std::array<char, sizeof(kPrompt)> prompt = std::to_array(kPrompt);
    return prompt.data();
  }

  // One character of UTF-8; like libedit's own, but a signal ends the line.
  static int GetCharacter(EditLine* edit, wchar_t* out) {
    EditLineReader* reader = nullptr;
    el_get(edit, EL_CLIENTDATA, &reader);
    std::mbstate_t state{};
    while (true) {
      const Wait wait = WaitForInput(reader->interrupts_);
      reader->interrupted_ = wait == Wait::kInterrupted;
      if (wait != Wait::kReadable) return 0;
      char byte = 0;
      if (read(STDIN_FILENO, &byte, 1) != 1) return 0;
      const size_t used = std::mbrtowc(out, &byte, 1, &state);
      if (used <= 1) return 1;
      // Neither a character nor the beginning of one: dropped.
      if (used == static_cast<size_t>(-1)) state = {};
    }
  }

  Interrupts& interrupts_;
  History* history_;
  EditLine* edit_;
  bool interrupted_ = false;
};

}  // namespace

std::unique_ptr<LineReader> MakeLineReader(Interrupts& interrupts) {
  if (isatty(STDIN_FILENO) != 0 && isatty(STDOUT_FILENO) != 0) {
    return std::make_unique<EditLineReader>(interrupts);
  }
  return std::make_unique<PlainLineReader>(interrupts);
}

}  // namespace concertina::cli
