"""The Kubernetes files by themselves: rendered, of a current schema, with all their references."""

import unittest

import kubernetes_validate

import rendered

RESTRICTED_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def config_names(template):
    """Names of the ConfigMaps that the volumes of a pod refer to."""
    return {volume["configMap"]["name"] for volume in template["spec"]["volumes"]
            if "configMap" in volume}


class ManifestsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.base = rendered.render(rendered.BASE)
        cls.monitoring = rendered.render(rendered.MONITORING)

    def test_every_resource_fits_the_latest_schema(self):
        for resource in self.monitoring:
            with self.subTest(kind=resource["kind"], name=resource["metadata"]["name"]):
                kubernetes_validate.validate(resource, kubernetes_validate.latest_version(),
                                             strict=True)

    def test_an_unknown_field_would_be_noticed(self):
        service = rendered.find(self.base, "Service", "concertina")
        broken = {**service, "spec": {**service["spec"], "portz": []}}
        with self.assertRaises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)

    def test_the_overlay_has_all_of_the_base(self):
        def names(resources):
            return {(resource["kind"], resource["metadata"]["name"]) for resource in resources}
        self.assertLess(names(self.base), names(self.monitoring))

    def test_all_is_in_one_namespace(self):
        for resource in self.monitoring:
            if resource["kind"] != "Namespace":
                self.assertEqual(resource["metadata"]["namespace"], "concertina")

    def test_pods_are_restricted(self):
        for name, template in rendered.pod_templates(self.monitoring).items():
            with self.subTest(pod=name):
                pod = template["spec"]
                self.assertIs(pod["automountServiceAccountToken"], False)
                self.assertIs(pod["enableServiceLinks"], False)
                self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
                self.assertGreater(pod["securityContext"]["runAsUser"], 0)
                self.assertEqual(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault")
                for container in pod["containers"]:
                    context = container["securityContext"]
                    self.assertIs(context["readOnlyRootFilesystem"], True)
                    self.assertFalse(context.get("privileged", False))
                    self.assertLessEqual(RESTRICTED_CONTAINER.items(), context.items())
                    self.assertIn("memory", container["resources"]["limits"])
                self.assertFalse([volume for volume in pod["volumes"] if "hostPath" in volume])

    def test_volumes_have_their_config_maps_and_mounts_their_volumes(self):
        maps = {resource["metadata"]["name"]: resource["data"] for resource in self.monitoring
                if resource["kind"] == "ConfigMap"}
        used = set()
        for name, template in rendered.pod_templates(self.monitoring).items():
            used |= config_names(template)
            volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
            for mount in template["spec"]["containers"][0]["volumeMounts"]:
                volume = volumes[mount["name"]]
                if "subPath" in mount:
                    self.assertIn(mount["subPath"], maps[volume["configMap"]["name"]], name)
        self.assertEqual(used, set(maps))

    def test_selectors_find_the_pods(self):
        labels = [template["metadata"]["labels"]
                  for template in rendered.pod_templates(self.monitoring).values()]
        selectors = []
        for resource in self.monitoring:
            spec = resource.get("spec", {})
            if resource["kind"] == "Service":
                selectors.append(spec["selector"])
            elif resource["kind"] == "NetworkPolicy":
                selectors.append(spec["podSelector"]["matchLabels"])
            elif "selector" in spec:
                selectors.append(spec["selector"]["matchLabels"])
        self.assertGreaterEqual(len(selectors), 11)
        for selector in selectors:
            self.assertEqual(sum(selector.items() <= pod.items() for pod in labels), 1, selector)

    def test_every_image_has_a_version(self):
        for name, template in rendered.pod_templates(self.monitoring).items():
            self.assertRegex(template["spec"]["containers"][0]["image"], r":v?\d+\.\d+\.\d+$", name)


if __name__ == "__main__":
    unittest.main()
