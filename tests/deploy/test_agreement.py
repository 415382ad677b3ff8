"""The deployed files against the server's own words: --help, --print-config, --print-memory, health."""

import os
import re
import subprocess
import tempfile
import tomllib
import unittest

import grpc
import yaml

import dockerfile
import rendered
from processes import SERVER, TINY_LLAVA, Server, server_help

HEALTH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"
TAKE_LEAVE_SECONDS = 10


def print_server(flag, settings, *flags):
    """What the server prints about settings, a TOML text, as a table."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(settings)
        file.flush()
        result = subprocess.run([SERVER, "--config", file.name, flag, *flags], capture_output=True,
                                text=True, timeout=120)
    if result.returncode != 0:
        raise RuntimeError(result.stderr)
    return tomllib.loads(result.stdout)


def port_of(address):
    return int(address.rsplit(":", 1)[1])


class AgreementTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.resources = rendered.render(rendered.MONITORING)
        cls.pod = rendered.find(cls.resources, "StatefulSet", "concertina")["spec"]["template"]
        cls.spec = cls.pod["spec"]
        (cls.container,) = cls.spec["containers"]
        cls.toml = rendered.find(cls.resources, "ConfigMap", "concertina")["data"]["concertina.toml"]
        cls.effective = print_server("--print-config", cls.toml)

    def test_the_server_takes_the_settings(self):
        given = tomllib.loads(self.toml)
        self.assertLessEqual({"model", "vision", "listen", "pool-bytes", "threads"}, set(given))
        for name, value in given.items():
            effective = self.effective[name]
            if name.endswith("-bytes"):
                value, effective = rendered.quantity(value), rendered.quantity(effective)
            elif name.endswith("-period"):
                value, effective = rendered.seconds(value), rendered.seconds(effective)
            self.assertEqual(value, effective, name)

    def test_a_setting_that_does_not_exist_would_be_noticed(self):
        with self.assertRaisesRegex(RuntimeError, "pool-bites"):
            print_server("--print-config", self.toml + '\npool-bites = "1GiB"\n')

    def test_the_arguments_are_flags_and_find_the_file(self):
        flag, path = self.container["args"]
        self.assertEqual(flag, "--config")
        self.assertRegex(server_help(), r"(?m)^\s+--config ")
        (mount,) = [mount for mount in self.container["volumeMounts"] if mount["name"] == "config"]
        self.assertEqual(path, os.path.join(mount["mountPath"], "concertina.toml"))

    def test_the_model_is_where_the_image_has_it(self):
        _, image = dockerfile.parse(rendered.read("container/Dockerfile"))
        _, arguments = image.program()
        for name in ("model", "vision"):
            self.assertEqual(self.effective[name], arguments[arguments.index(f"--{name}") + 1])

    def test_ports(self):
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self.assertEqual(ports, {"grpc": port_of(self.effective["listen"]),
                                 "metrics": port_of(self.effective["metrics-listen"])})
        for name in ("concertina", "concertina-pods"):
            for port in rendered.find(self.resources, "Service", name)["spec"]["ports"]:
                self.assertEqual((port["port"], port["targetPort"]), (ports[port["name"]], port["name"]))
        policy = rendered.find(self.resources, "NetworkPolicy", "concertina")["spec"]
        allowed = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
        self.assertEqual(allowed, set(ports.values()))
        annotations = self.pod["metadata"]["annotations"]
        self.assertEqual(int(annotations["prometheus.io/port"]), ports["metrics"])

    def test_admin_is_not_reached_from_outside(self):
        address = self.effective["admin-listen"]
        self.assertTrue(address.startswith("127.0.0.1:"), address)
        for resource in self.resources:
            if resource["kind"] in ("Service", "NetworkPolicy", "StatefulSet"):
                self.assertNotIn(str(port_of(address)), yaml.safe_dump(resource))

    def test_the_server_knows_the_services_of_the_probes(self):
        probes = {name: self.container[name]["grpc"]
                  for name in ("startupProbe", "livenessProbe", "readinessProbe")}
        self.assertEqual(probes["livenessProbe"]["service"], "liveness")
        self.assertEqual(probes["readinessProbe"]["service"], "readiness")
        for probe in probes.values():
            self.assertEqual(probe["port"], port_of(self.effective["listen"]))
        with Server(TINY_LLAVA) as server, grpc.insecure_channel(server.target) as channel:
            check = channel.unary_unary(HEALTH)
            for probe in probes.values():
                name = probe["service"].encode()
                self.assertEqual(check(b"\x0a" + bytes([len(name)]) + name, timeout=10), SERVING)
            with self.assertRaises(grpc.RpcError) as refused:
                check(b"\x0a\x04nope", timeout=10)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_memory_covers_the_servers_own_bound(self):
        # The bundled model where it takes most: a CPU without bf16.
        memory = print_server("--print-memory", re.sub(r"(?m)^(model|vision) = .*$", "", self.toml),
                              "--weights", "f32", "--kv", "f32")
        bound = memory["memory_bound_bytes"]
        self.assertEqual(memory["pool_bytes"], rendered.quantity(self.effective["pool-bytes"]))
        resources = self.container["resources"]
        request = rendered.quantity(resources["requests"]["memory"])
        print(f"memory: bound {bound / 2**20:.0f} MiB, request {request / 2**20:.0f} MiB")
        self.assertEqual(resources["limits"]["memory"], resources["requests"]["memory"])
        self.assertGreaterEqual(request, bound)
        self.assertLess(request, 1.2 * bound)

    def test_every_thread_has_a_core(self):
        requested = rendered.quantity(self.container["resources"]["requests"]["cpu"])
        self.assertEqual(requested, self.effective["threads"])

    def test_there_is_time_to_drain(self):
        pause = self.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        needed = pause + rendered.seconds(self.effective["grace-period"]) + TAKE_LEAVE_SECONDS
        self.assertGreaterEqual(self.spec["terminationGracePeriodSeconds"], needed)

    def test_pictures_are_limited_as_the_server_limits_them(self):
        _, image = dockerfile.parse(rendered.read("container/Dockerfile"))
        limit = int(image.environment()["OPENCV_IO_MAX_IMAGE_PIXELS"])
        self.assertEqual(limit, print_server("--print-config", "")["max-image-pixels"])
        self.assertGreaterEqual(limit, self.effective["max-image-pixels"])


class MonitoringPathTest(unittest.TestCase):
    """From the pods' metrics to Prometheus to Grafana: each finds the next."""

    @classmethod
    def setUpClass(cls):
        cls.resources = rendered.render(rendered.MONITORING)
        cls.prometheus = yaml.safe_load(rendered.read("prometheus/prometheus.yml"))

    def test_prometheus_asks_for_the_pods_by_their_name(self):
        service = rendered.find(self.resources, "Service", "concertina-pods")
        self.assertEqual(service["spec"]["clusterIP"], "None")
        namespace = service["metadata"]["namespace"]
        (job,) = self.prometheus["scrape_configs"]
        (discovery,) = job["dns_sd_configs"]
        self.assertEqual(discovery["names"], [f"_metrics._tcp.concertina-pods.{namespace}.svc"])
        self.assertIn("metrics", [port["name"] for port in service["spec"]["ports"]])
        self.assertIn(f'job="{job["job_name"]}"', rendered.read("prometheus/rules.yml"))

    def test_instances_are_called_as_their_pods(self):
        (job,) = self.prometheus["scrape_configs"]
        (rule,) = job["relabel_configs"]
        address = "concertina-0.concertina-pods.concertina.svc.cluster.local:9464"
        self.assertEqual(re.fullmatch(rule["regex"], address).group(1), "concertina-0")

    def test_prometheus_reads_the_files_it_is_given(self):
        template = rendered.pod_templates(self.resources)["prometheus"]["spec"]
        (container,) = template["containers"]
        (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "config"]
        self.assertIn(f"--config.file={mount['mountPath']}/prometheus.yml", container["args"])
        data = rendered.find(self.resources, "ConfigMap", "prometheus")["data"]
        self.assertLessEqual({"prometheus.yml", *self.prometheus["rule_files"]}, set(data))

    def test_policies_let_scrapes_and_queries_through(self):
        def labels(name):
            return rendered.pod_templates(self.resources)[name]["metadata"]["labels"]

        def allows(policy, direction, side, name, port):
            rules = rendered.find(self.resources, "NetworkPolicy", policy)["spec"][direction]
            return any(peer.get("podSelector", {}).get("matchLabels", {"none": ""}).items()
                       <= labels(name).items() for rule in rules for peer in rule[side]
                       if port in [entry["port"] for entry in rule["ports"]])
        self.assertTrue(allows("prometheus", "egress", "to", "concertina", 9464))
        self.assertTrue(allows("concertina", "ingress", "from", "prometheus", 9464))
        self.assertTrue(allows("grafana", "egress", "to", "prometheus", 9090))
        self.assertTrue(allows("prometheus", "ingress", "from", "grafana", 9090))
        self.assertFalse(allows("prometheus", "egress", "to", "concertina", 50051))

    def test_grafana_finds_prometheus_and_the_dashboard(self):
        (source,) = yaml.safe_load(rendered.read("grafana/datasource.yaml"))["datasources"]
        service = rendered.find(self.resources, "Service", "prometheus")
        self.assertEqual(source["url"], f"http://{service['metadata']['name']}:"
                                        f"{service['spec']['ports'][0]['port']}")
        self.assertEqual(source["jsonData"]["timeInterval"],
                         self.prometheus["global"]["scrape_interval"])
        (provider,) = yaml.safe_load(rendered.read("grafana/provider.yaml"))["providers"]
        (container,) = rendered.pod_templates(self.resources)["grafana"]["spec"]["containers"]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        self.assertEqual(provider["options"]["path"], mounts["dashboards"])
        home = {entry["name"]: entry["value"] for entry in container["env"]}
        board = rendered.find(self.resources, "ConfigMap", "grafana-dashboards")["data"]
        folder, name = os.path.split(home["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
        self.assertEqual((folder, [name]), (mounts["dashboards"], list(board)))


if __name__ == "__main__":
    unittest.main()
