"""The dashboard as a file: what Grafana wants of one, and that its queries name what there is."""

import json
import os
import sys
import unittest

import dashboard
from processes import ROOT

sys.path.insert(0, os.path.join(ROOT, "tools/docs"))

import draw_dashboard  # noqa: E402


class DashboardTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.board = dashboard.load()

    def test_rows(self):
        rows = dashboard.rows(self.board)
        self.assertEqual([title for title, _ in rows], ["Service", "Cache", "Sessions", "Machine"])
        for title, panels in rows:
            self.assertGreaterEqual(len(panels), 6, title)

    def test_ids_are_unique(self):
        ids = [panel["id"] for panel in self.board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))

    def test_panels_do_not_overlap(self):
        cells = set()
        for panel in self.board["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            own = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                   for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & own, panel["title"])
            cells |= own

    def test_panels_use_the_chosen_source(self):
        names = {variable["name"] for variable in self.board["templating"]["list"]}
        self.assertEqual(names, {"datasource", "model", "instance"})
        for panel in dashboard.panels(self.board):
            for holder in (panel, *panel["targets"]):
                self.assertEqual(holder["datasource"], {"type": "prometheus", "uid": "${datasource}"})

    def test_queries_follow_the_variables(self):
        for panel in dashboard.panels(self.board):
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], panel["title"])
            for target in panel["targets"]:
                names = dashboard.metric_names(target["expr"])
                self.assertTrue(names, panel["title"])
                self.assertEqual(target["expr"].count('model=~"$model",instance=~"$instance"'),
                                 sum(target["expr"].count(name + "{") for name in names))
                dashboard.expression(target)

    def test_overrides_name_a_series(self):
        for panel in dashboard.panels(self.board):
            legends = {target["legendFormat"] for target in panel["targets"]}
            for override in panel["fieldConfig"]["overrides"]:
                self.assertIn(override["matcher"]["options"], legends)

    def test_the_picture_shows_this_dashboard(self):
        with open(draw_dashboard.DATA, encoding="utf-8") as file:
            data = json.load(file)
        with open(draw_dashboard.PICTURE, encoding="utf-8") as file:
            self.assertEqual(draw_dashboard.draw(data), file.read(), "run tools/docs/draw_dashboard.py")


if __name__ == "__main__":
    unittest.main()
