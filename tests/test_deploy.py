"""Test deploy/: the manifests against Kubernetes' schema, and every query of the dashboard with a real Prometheus."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import numpy as np
import pytest
import yaml
from helpers import free_port, listening, running

from cnnzoo.serve.routes import create_routes
from cnnzoo.serve.settings import read_settings

DEPLOY = Path(__file__).parent.parent / "deploy"
KUBECTL = shutil.which("kubectl") or ""
PROMETHEUS = shutil.which("prometheus") or ""
MANIFESTS = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def test_the_manifests_follow_the_schema():
    assert {manifest["kind"] for manifest in MANIFESTS} == {"Deployment", "Service"}
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.skipif(not KUBECTL, reason="needs kubectl 1.21 or newer")
def test_kustomize_sets_what_the_kustomization_names(tmp_path: Path):
    for name in ("kubernetes.yaml", "kustomization.yaml"):
        text = (DEPLOY / name).read_text()
        (tmp_path / name).write_text(text.replace("newName: cnnzoo", "newName: registry.example/cnnzoo"))
    done = subprocess.run([KUBECTL, "kustomize", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    manifests = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(done.stdout)}
    assert manifests.keys() == {"Deployment", "Service"}
    for manifest in manifests.values():
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    deployment = manifests["Deployment"]["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/cnnzoo:0.3.0"
    assert deployment["replicas"] == 2


def test_the_settings_are_valid_beside_the_variables_of_the_service(monkeypatch: pytest.MonkeyPatch):
    """Kubernetes adds CNNZOO_PORT=tcp://… to a pod beside a Service `cnnzoo`, unless the pod refuses such variables."""
    deployment, service = MANIFESTS
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    if pod.get("enableServiceLinks", True):
        monkeypatch.setenv(f"{service['metadata']['name'].upper()}_PORT", "tcp://10.96.7.7:80")
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "a-key"))
    settings = read_settings()
    assert (settings.host, settings.port) == ("0.0.0.0", container["ports"][0]["containerPort"])


def test_probes_ask_routes_and_a_stop_waits_for_requests_in_flight():
    pod = MANIFESTS[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    paths = {route.path for route in create_routes()}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in paths, probe
    (_, seconds) = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > int(seconds) + read_settings().timeout


def test_the_kustomization_changes_what_there_is():
    kustomization = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    assert [(DEPLOY / name).is_file() for name in kustomization["resources"]] == [True]
    (deployment,) = (manifest for manifest in MANIFESTS if manifest["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (image,), (replicas,) = kustomization["images"], kustomization["replicas"]
    assert container["image"] == f"{image['name']}:{image['newTag']}"
    assert (replicas["name"], replicas["count"]) == (deployment["metadata"]["name"], deployment["spec"]["replicas"])


@pytest.fixture(scope="module")
def prometheus(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Run Prometheus, which scrapes a service that is asked all the time. Yield a client of Prometheus."""
    if not PROMETHEUS:
        pytest.skip("needs Prometheus: apt-get install prometheus")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    with listening(trained / "zoo") as service:
        target = f"{service.base_url.host}:{service.base_url.port}"
        scrape = {"job_name": "cnnzoo", "scrape_interval": "500ms", "static_configs": [{"targets": [target]}]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
        options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        pixels = np.zeros((3, 1, 8, 8), np.uint8).tobytes()
        with (
            (folder / "log").open("w") as log,
            running(PROMETHEUS, *options, f"--web.listen-address=127.0.0.1:{port}", stdout=log, stderr=log),
            httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
        ):
            for _ in range(100):
                service.post(
                    "/v2/models/digits_cnn/infer", content=pixels, headers={"inference-header-content-length": "0"}
                )
                service.get("/models")
                service.get("/livez")
                time.sleep(0.1)
                if _counted(client) > 4:
                    break
            yield client


def _counted(client: httpx.Client) -> float:
    """Return how often the number of requests has been scraped."""
    try:
        ready = client.get("/-/ready").is_success
    except httpx.TransportError:  # not yet started
        ready = False
    found = ask(client, "max(count_over_time(cnnzoo_requests_total[1m]))") if ready else []
    return float(found[0]["value"][1]) if found else 0


def ask(client: httpx.Client, query: str) -> list[dict[str, Any]]:
    answer = client.get("/api/v1/query", params={"query": query}).json()
    assert answer.get("status", "success") == "success", answer
    return answer.get("data", {}).get("result", [])


@pytest.mark.slow
def test_every_query_of_the_dashboard_has_an_answer(prometheus: httpx.Client):
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    queries = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) >= 10
    for title, query in queries:
        found = ask(prometheus, query.replace("$__rate_interval", "30s").replace("$model", ".*"))
        assert found, title
        if "a second" in title or title == "Images in a batch, mean":
            assert max(float(row["value"][1]) for row in found) > 0, title
    for metric in set(re.findall(r"cnnzoo_\w+", str(queries))):  # also where a query has `or vector(0)`
        assert ask(prometheus, metric), metric
    counted = next(query for title, query in queries if title == "Requests a second").replace("rate(", "").split("[")[0]
    by_route = ask(prometheus, counted.replace("sum(", "sum by (route) (") + ")")
    assert {row["metric"]["route"] for row in by_route} == {"/models", "/v2/models/{model}/infer"}  # without probes
    means = ask(prometheus, "sum(cnnzoo_batch_images_sum) / sum(cnnzoo_batch_images_count)")
    assert float(means[0]["value"][1]) == 3
    series = prometheus.get("/api/v1/label/model/values", params={"match[]": "cnnzoo_batch_images_count"}).json()
    assert series["data"] == ["digits_cnn"]


def test_panels_do_not_overlap():
    panels = [panel["gridPos"] for panel in json.loads((DEPLOY / "grafana.json").read_text())["panels"]]
    cells = [(x, y) for p in panels for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
