"""The result as pictures: SVG and PNG."""

import os

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402: after the choice of what draws

TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
MET, MISSED, PLAIN, GOAL = "#2a7f62", "#c1554d", "#7a8a99", "#222222"
plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
                     "svg.hashsalt": "concertina", "svg.fonttype": "none"})


def save(figure, folder, name):
    for suffix in ("svg", "png"):
        figure.savefig(os.path.join(folder, f"{name}.{suffix}"), dpi=130, bbox_inches="tight")
    plt.close(figure)
    return [f"{name}.svg", f"{name}.png"]


def ratios(rows, folder):
    """A bar per row; the goal is a mark on it."""
    rows = [row for row in rows if row["ratio"] is not None]
    if not rows:
        return []
    figure, axes = plt.subplots(figsize=(9.5, 0.9 + 0.31 * len(rows)))
    places = range(len(rows))
    colours = [{True: MET, False: MISSED, None: PLAIN}[row["met"]] for row in rows]
    axes.barh(places, [row["ratio"] for row in rows], color=colours, height=0.62)
    for place, row in zip(places, rows):
        if row["goal"] is not None:
            axes.plot([row["goal"]] * 2, [place - 0.42, place + 0.42], color=GOAL, linewidth=2)
        right = max(row["ratio"], row["goal"] or 0)
        sign = {"at most": "≤", "at least": "≥"}[row["goal_is"]]
        text = f"{row['ratio']:.2f}" + (f"  ({sign} {row['goal']:g})" if row["goal"] else "")
        axes.text(right * 1.06, place, text, va="center", fontsize=8)
    axes.set_yticks(places, [f"{row['work']}  |  {row['peer']}" for row in rows], fontsize=8)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 2.2)
    ticks = [tick for tick in TICKS if low <= tick <= high * 2.2]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.axvline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_xlabel("ours over the peer; the black mark is the goal; green: met, red: not met")
    return save(figure, folder, "ratios")


def depths(series, folder):
    """Tokens per second of one session, by what came before."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    drawn = False
    for label, prefix, suffix, colour, marker in (
            ("ours, folded to 0.2", "ours.decode_", "_folded", MET, "o"),
            ("ours, full cache", "ours.decode_", "_full", "#3b6ea5", "s"),
            ("llama.cpp", "llama.decode_", "", MISSED, "^")):
        points = []
        for name, values in series.items():
            middle = name[len(prefix):len(name) - len(suffix)]
            if name == prefix + middle + suffix and middle.isdigit():
                points.append((int(middle), values["max"]))
        if points:
            drawn = True
            axes.plot(*zip(*sorted(points)), color=colour, marker=marker, label=label)
    if not drawn:
        plt.close(figure)
        return []
    axes.set(xlabel="tokens before", ylabel="tokens/s, one session", title="Decode")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return save(figure, folder, "decode")


def roofline(series, info, folder):
    """Prefill of each against what the machine's matrix peaks allow."""
    ours = info.get("ours")
    if not ours:
        return []
    per_token = 2 * (ours["matrix_parameters"] - ours["head_parameters"])
    sizes = [size for size in (600, 2000) if f"ours.prefill_{size}" in series]
    if not sizes:
        return []
    figure, axes = plt.subplots(figsize=(6, 3.6))
    shown = [(label, name, colour) for label, name, colour in (
        ("ours", "ours", MET), ("transformers, bf16", "transformers", "#3b6ea5"),
        ("llama.cpp", "llama", MISSED))
        if any(f"{name}.prefill_{size}" in series for size in sizes)]
    width = 0.8 / len(shown)
    for index, (label, name, colour) in enumerate(shown):
        places, heights = [], []
        for group, size in enumerate(sizes):
            if f"{name}.prefill_{size}" in series:
                places.append(group + (index - (len(shown) - 1) / 2) * width)
                heights.append(series[f"{name}.prefill_{size}"]["max"])
        bars = axes.bar(places, heights, width * 0.92, color=colour, label=label)
        axes.bar_label(bars, [f"{height:,.0f}" for height in heights], fontsize=8,
                       bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    for name in ("f32", "bf16", "int8"):
        if f"machine.peak_{name}" in series:
            limit = series[f"machine.peak_{name}"]["max"] * 1e9 / per_token
            axes.axhline(limit, color=GOAL, linewidth=0.9, linestyle="--")
            axes.text(len(sizes) - 0.45, limit, f"{name} peak", fontsize=8, va="bottom", ha="right")
    axes.set_xticks(range(len(sizes)), [f"{size:,} tokens" for size in sizes])
    axes.set(ylabel="tokens/s", title="Prefill, and what the matrix peaks would allow")
    axes.set_ylim(top=axes.get_ylim()[1] * 1.12)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncol=3)
    return save(figure, folder, "prefill")


def draw(result, folder):
    """Names of the files written."""
    return (ratios(result["rows"], folder) + depths(result["series"], folder)
            + roofline(result["series"], result["info"], folder))
