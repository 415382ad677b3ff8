"""Rules and dashboard against a real Prometheus that scrapes a real server under load."""

import math
import os
import subprocess
import time
import unittest

import yaml

import dashboard
import rendered
from load import Load
from processes import TINY_LLAVA, Prometheus, Server, wait_for

RULES = rendered.DEPLOY + "/prometheus/rules.yml"
# Until the last query has an answer; usually seconds.
DATA_SECONDS = 40


def promtool(*arguments):
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True,
                          cwd=os.path.dirname(RULES))


def configuration(targets):
    """Ours, but with these targets in place of DNS, and in a hurry."""
    config = yaml.safe_load(rendered.read("prometheus/prometheus.yml"))
    config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s",
                         "evaluation_interval": "1s"}
    (job,) = config["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": targets}]
    return yaml.safe_dump(config)


def has_data(result):
    return any(math.isfinite(float(sample["value"][1])) for sample in result)


class PromtoolTest(unittest.TestCase):
    def test_configuration_and_rules_are_valid(self):
        for arguments in (["check", "config", "prometheus.yml"], ["check", "rules", "rules.yml"],
                          ["test", "rules", "rules_test.yml"]):
            result = promtool(*arguments)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            self.assertNotIn("FAILED", result.stdout + result.stderr)

    def test_every_alert_has_a_unit_test(self):
        tested = yaml.safe_load(rendered.read("prometheus/rules_test.yml"))["tests"]
        fired = {case["alertname"] for test in tested for case in test.get("alert_rule_test", ())
                 if case["exp_alerts"]}
        self.assertEqual(fired, {rule["alert"] for rule in rules() if "alert" in rule})


def rules():
    return [rule for group in yaml.safe_load(rendered.read("prometheus/rules.yml"))["groups"]
            for rule in group["rules"]]


class LiveTest(unittest.TestCase):
    """One server, one Prometheus, one load for all tests; they end when the queries have data."""

    @classmethod
    def setUpClass(cls):
        # Fewer sessions and pages than the load wants: refusals, and evictions of idle sessions.
        cls.server = cls.enterClassContext(
            Server([*TINY_LLAVA, "--pool-bytes", "256KiB", "--max-sessions", "3", "--probe-tokens", "4"]))
        cls.prometheus = cls.enterClassContext(
            Prometheus(configuration([f"127.0.0.1:{cls.server.metrics_port}"]),
                       {"rules.yml": rendered.read("prometheus/rules.yml")}))
        cls.enterClassContext(Load(cls.server, workers=5, questions=["What is at the top?"] * 4, tokens=24))
        cls.targets = [(panel, target) for panel in dashboard.panels(dashboard.load())
                       for target in panel["targets"]]
        cls.recorded = [rule for rule in rules() if "record" in rule]
        started = time.monotonic()
        cls.wait_for_data()
        print(f"{len(cls.targets)} queries and {len(rules())} rules after "
              f"{time.monotonic() - started:.1f} s of load")

    @classmethod
    def wait_for_data(cls):
        """Keeps the first answer with data of every query: a rate of nothing may be 0/0 later."""
        waiting = {dashboard.expression(target) for _, target in cls.targets}
        waiting |= {rule[key] for rule in cls.recorded for key in ("record", "expr")}
        cls.answers = {}
        end = time.monotonic() + DATA_SECONDS
        while waiting and time.monotonic() < end:
            time.sleep(0.5)
            for query in waiting:
                result = cls.prometheus.query(query)
                if has_data(result):
                    cls.answers[query] = result
            waiting -= cls.answers.keys()

    def test_metrics_are_clean(self):
        result = subprocess.run(["promtool", "check", "metrics"], input=self.server.metrics(),
                                capture_output=True, text=True)
        faults = [line for line in result.stderr.splitlines() if line.startswith("concertina_")]
        self.assertEqual(faults, [])

    def test_every_panel_has_data(self):
        for panel, target in self.targets:
            with self.subTest(panel=panel["title"], legend=target["legendFormat"]):
                query = dashboard.expression(target)
                self.assertIn(query, self.answers)
                for sample in self.answers[query]:
                    self.assertLessEqual(dashboard.legend_labels(target), set(sample["metric"]))

    def test_variables_have_values(self):
        for name, label in (("model", "model"), ("instance", "instance")):
            values = self.prometheus.api(f"label/{label}/values",
                                         **{"match[]": "concertina_build_info"})
            self.assertEqual(len(values), 1, name)
        listed = [variable["query"] for variable in dashboard.load()["templating"]["list"]
                  if variable["type"] == "query"]
        for variable in listed:
            self.assertIn("concertina_build_info", variable["query"])

    def test_every_rule_is_evaluated(self):
        def evaluated():
            groups = self.prometheus.api("rules")["groups"]
            found = [rule for group in groups for rule in group["rules"]]
            return found if all(rule["health"] != "unknown" for rule in found) else None

        loaded = wait_for(evaluated, "evaluation of the rules", DATA_SECONDS)
        self.assertEqual(len(loaded), len(rules()))
        for rule in loaded:
            self.assertEqual((rule["health"], rule.get("lastError")), ("ok", None), rule["name"])

    def test_recorded_series_have_data(self):
        for rule in self.recorded:
            with self.subTest(rule=rule["record"]):
                self.assertIn(rule["expr"], self.answers)
                self.assertIn(rule["record"], self.answers)

    def test_metrics_in_alerts_exist(self):
        names = {name for rule in rules() for name in dashboard.metric_names(rule["expr"])}
        self.assertGreater(len(names), 15)
        for name in sorted(names):
            self.assertTrue(self.prometheus.query(f"count({name})"), name)

    def test_a_metric_that_does_not_exist_would_be_noticed(self):
        self.assertFalse(has_data(self.prometheus.query("sum(concertina_no_such_bytes)")))


if __name__ == "__main__":
    unittest.main()
