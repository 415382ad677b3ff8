"""The result as Markdown."""


def number(value):
    if value is None:
        return "–"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def goal_text(row):
    if row["goal"] is None:
        return "–"
    return ("≤ " if row["goal_is"] == "at most" else "≥ ") + f"{row['goal']:g}×"


def met_text(row):
    return {True: "yes", False: "**no**", None: "–"}[row["met"]]


def side(row, name):
    return f"{number(row[name]['best'])} ({number(row[name]['median'])}) {row['unit']}"


def table(rows):
    lines = ["| work | peer | ours: best (median) | peer: best (median) | ratio of bests | "
             "round by round: median (min–max) | goal | met |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        if row["ratio"] is None:
            cells = [row["work"], row["peer"], row["message"].replace("|", "/"), "–", "–", "–"]
        else:
            pairs = row["pair_ratios"]
            cells = [row["work"], row["peer"], side(row, "ours"), side(row, "theirs"),
                     f"{row['ratio']:.2f}×",
                     f"{pairs['median']:.2f}× ({pairs['min']:.2f}–{pairs['max']:.2f})"]
        lines.append("| " + " | ".join(cells + [goal_text(row), met_text(row)]) + " |")
    return lines


def machine_lines(machine, series):
    lines = [f"- CPU: {machine.get('cpu', 'unknown')}, {machine.get('cores', '?')} cores, "
             f"{machine.get('memory_gib', '?')} GiB; " + " ".join(machine.get("flags", []))]
    names = {"machine.read_gb_per_s": ("read bandwidth", "GB/s"),
             "machine.peak_f32": ("f32 peak", "GOP/s"),
             "machine.peak_bf16": ("bf16 peak", "GOP/s"),
             "machine.peak_int8": ("int8 peak", "GOP/s")}
    found = [f"{label} {number(series[name]['max'])} ({number(series[name]['median'])}) {unit}"
             for name, (label, unit) in names.items() if name in series]
    if found:
        lines.append("- measured, best (median): " + ", ".join(found))
    return lines


def ours_lines(info):
    ours = info.get("ours")
    if not ours:
        return []
    few, many = ours["weights_few_rows"], ours["weights_many_rows"]
    text = few if few == many else f"{few}, {many} from {ours['many_rows_from']} rows on"
    return [f"- ours: {ours['model']}, weights {text}, entries {ours['entries']}, kernels "
            f"{ours['kernels']}, {ours['threads']} threads"]


def peer_lines(info):
    lines = []
    if "llama_cpp" in info:
        lines.append(f"- llama.cpp: vendor/llama.cpp of {info['llama_cpp']}, built natively, the "
                     "same GGUF file, flash attention on or off, whichever was faster")
    if "python" in info:
        lines.append("- Python peers: " + ", ".join(f"{name} {version}" for name, version
                                                    in sorted(info["python"].items())))
    return lines


def others_lines(info):
    others = info.get("cpu_of_others")
    if not others:
        return []
    return [f"- meanwhile other programs used {others['other_programs']:.0%} of the CPU, other "
            f"machines on the same host {others['other_machines']:.0%}"]


def markdown(result):
    """`result`: what results.json holds."""
    rows, info = result["rows"], result["info"]
    judged = [row for row in rows if row["met"] is not None]
    lines = ["# Benchmark", "",
             f"{result['started']}, {result['seconds'] / 60:.1f} minutes, {result['rounds']} rounds"
             + (", quick: sizes are smaller, goals do not apply as they are"
                if result["quick"] else "") + ".", ""]
    lines += machine_lines(result["machine"], result["series"])
    lines += ours_lines(info) + peer_lines(info) + others_lines(info)
    lines += ["", f"Goals met: {sum(row['met'] for row in judged)} of {len(judged)}.", ""]
    lines += table(rows)
    if result["failures"]:
        lines += ["", "## Failures", ""]
        lines += [f"- {failure['part']}: {failure['message']}" for failure in result["failures"]]
    return "\n".join(lines) + "\n"
