"""What the examples ask of Ray and of KubeRay is what these know."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "examples" / "cluster"
OF_A_JOB = {
    *("entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit"),
    "rayClusterSpec",
}
OF_A_CLUSTER = {"rayVersion", "enableInTreeAutoscaling", "headGroupSpec", "workerGroupSpecs"}
OF_A_GROUP = {
    *("groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"),
}
"""Names of fields in KubeRay's ray.io/v1."""


def test_ray_takes_the_configuration_of_a_cluster() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util")
    said = yaml.safe_load((CLUSTER / "ray_cluster.yaml").read_text("utf-8"))
    filled = util.prepare_config(said)
    util.validate_config(filled)
    (kind,) = filled["available_node_types"].values()
    assert kind["min_workers"] == len(said["provider"]["worker_ips"])


def test_the_job_on_kubernetes_has_fields_that_kuberay_knows() -> None:
    job = yaml.safe_load((CLUSTER / "ray_job.yaml").read_text("utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"].keys() <= OF_A_JOB
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster.keys() <= OF_A_CLUSTER
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert all(group.keys() <= OF_A_GROUP for group in groups)
    for group in groups:
        (container,) = group["template"]["spec"]["containers"]
        volumes = {volume["name"] for volume in group["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_job_on_kubernetes_begins_with_room_for_its_least_workers() -> None:
    from synthenticity.cli.app import OnRay, cluster_of

    job = yaml.safe_load((CLUSTER / "ray_job.yaml").read_text("utf-8"))
    given = options(job["spec"]["entrypoint"])
    cluster = cluster_of(
        OnRay(
            ray=[given["ray"]],
            ray_workers=given["ray_workers"],
            worker_cpus=float(given["worker_cpus"]),
            worker_gpus=float(given["worker_gpus"]),
        )
    )
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert cluster is not None
    assert (cluster.least, cluster.most) == (group["minReplicas"], group["maxReplicas"])
    assert cluster.cpus <= float(container["resources"]["limits"]["cpu"])
    assert cluster.gpus <= float(container["resources"]["limits"]["nvidia.com/gpu"])


def test_the_head_on_kubernetes_has_a_gpu_and_gives_it_to_no_worker() -> None:
    """Or the owner, which runs there, would commit under the arithmetic of a processor."""
    job = yaml.safe_load((CLUSTER / "ray_job.yaml").read_text("utf-8"))
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]
    (container,) = head["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert (head["rayStartParams"]["num-cpus"], head["rayStartParams"]["num-gpus"]) == ("0", "0")


@pytest.mark.parametrize("path", sorted(CLUSTER.iterdir()), ids=lambda path: path.name)
def test_commands_of_the_examples_are_understood(path: Path) -> None:
    from synthenticity.cli import app

    for line in commands(path):
        app.parse_args(line, exit_on_error=False, print_error=False)


def commands(path: Path) -> list[list[str]]:
    """Return what follows `synthenticity` wherever a file calls it."""
    text = path.read_text("utf-8").replace("\\\n#", "").replace("\\\n", "")
    if path.suffix == ".yaml" and "entrypoint" in text:
        text = yaml.safe_load(text)["spec"]["entrypoint"]
    found = [
        shlex.split(part.split("'")[0], comments=True)
        for line in text.splitlines()
        for word in ("prepare", "train")
        for part in line.split(f"synthenticity {word} ")[1:]
    ]
    assert found
    word = "train" if path.name.startswith("train") else "prepare"
    return [[word, *words] for words in found]


def options(line: str) -> dict[str, Any]:
    words = shlex.split(line)
    return {
        word.removeprefix("--"): words[at + 1]
        for at, word in enumerate(words)
        if word.startswith("--")
    }
