"""What was measured: named series with one number per round."""

import statistics


class Samples:
    """Series of numbers by name, such as "ours.prefill_600", in the order they were measured."""

    def __init__(self):
        self.series = {}

    def add(self, values):
        """Appends by name a number, or the numbers of several rounds."""
        for name, value in values.items():
            numbers = value if isinstance(value, list) else [value]
            self.series.setdefault(name, []).extend(float(number) for number in numbers)

    def __contains__(self, name):
        return bool(self.series.get(name))

    def best(self, name, more_is_better):
        return max(self.series[name]) if more_is_better else min(self.series[name])

    def median(self, name):
        return statistics.median(self.series[name])

    def pair_ratios(self, ours, theirs):
        """Ours over theirs, round by round; what has one number only is compared with every one."""
        first, second = self.series[ours], self.series[theirs]
        count = max(len(first), len(second))
        first, second = (series * count if len(series) == 1 else series
                         for series in (first, second))
        return [a / b for a, b in zip(first, second) if b]

    def to_json(self):
        return {name: {"min": min(values), "median": statistics.median(values),
                       "max": max(values), "values": values}
                for name, values in sorted(self.series.items())}
