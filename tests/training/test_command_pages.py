"""Commands, scripts and manifests on the pages are understood by the programs they are for."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from places import CHECKOUT
from program import sonoforge
from sonoforge.runtime.cli.options import options
from sonoforge.runtime.cli.verbs import config_class, find

DOCS = CHECKOUT / "training" / "docs"
COMMANDS = [
    line.strip()
    for page in (
        "many-machines.md",
        "several-collections.md",
        "../studies/other-scanners/README.md",
        "../studies/race/README.md",
    )
    for line in (DOCS / page).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    if line.startswith("sonoforge ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    done = sonoforge(*words, "--dry-run")
    assert done.code == 0, done.err
    settings = json.loads(done.out)
    verb, _ = find(words)
    keys = {flag: key for key, option in options(config_class(verb)).items() for flag in option.flags}
    for flag, given in itertools.pairwise(words):
        if flag.startswith("--") and not given.startswith("--"):
            key, _, value = given.partition("=") if flag == "--set" else (keys[flag], "", given)
            found = settings[key]
            listed = found if isinstance(found, list) else [found]
            printed = [f"{one:g}" if isinstance(one, float) else str(one) for one in listed]
            assert value in printed or value == ",".join(printed) or value == json.dumps(found)


PAGE = (CHECKOUT / "training" / "docs" / "many-machines.md").read_text(encoding="utf-8")
KUBERNETES = "1.33"  # an old one, so that newer ones know the fields, too


def block(kind: str) -> str:
    (text,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


SCRIPT, RECIPE, MANIFEST = block("bash"), block("dockerfile"), yaml.safe_load(block("yaml"))


def check(tool: str, text: str, *options: str) -> None:
    """Let a linter of the extra ``dev`` read a text."""
    words = [Path(sys.executable).with_name(tool), *options, "-"]
    done = subprocess.run(words, input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def understood(command: str) -> dict[str, Any]:
    """Return the settings of a command."""
    done = sonoforge(*shlex.split(command)[1:], "--dry-run")
    assert done.code == 0, done.err
    return dict(json.loads(done.out))


def test_linters_find_nothing() -> None:
    check("shellcheck", SCRIPT)
    check("hadolint", RECIPE)


def test_the_commands_of_the_script_are_understood_and_fit_each_other() -> None:
    lines = SCRIPT.replace("\\\n", " ").splitlines()
    fetch, run = (understood(line[line.index("sonoforge ") :]) for line in lines if "sonoforge " in line)
    assert run["data"] == fetch["paths"][1:] and run["resume"] and run["out"].startswith("s3://")
    assert f'--address "{run["cluster"]}"' in SCRIPT, "the command joins the cluster that is started"


# https://docs.ray.io/en/latest/cluster/kubernetes/references/api.html, KubeRay 1.6
TEXT, NUMBER, SWITCH, ANY = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": "object"}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def record(required: list[str], **fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


GROUP = {"rayStartParams": TEXTS, "resources": TEXTS, "labels": TEXTS, "template": ANY}
HEAD = record(["template"], **GROUP, serviceType=TEXT, headService=ANY, enableIngress=SWITCH)
WORKERS = record(
    ["template", "groupName"], **GROUP, groupName=TEXT, replicas=NUMBER, minReplicas=NUMBER, maxReplicas=NUMBER,
    numOfHosts=NUMBER, idleTimeoutSeconds=NUMBER, scaleStrategy=ANY, suspend=SWITCH,
)  # fmt: skip
CLUSTER = record(
    ["headGroupSpec"], rayVersion=TEXT, headGroupSpec=HEAD, workerGroupSpecs={"type": "array", "items": WORKERS},
    authOptions=record([], mode={"enum": ["disabled", "token"]}, secretName=TEXT, enableK8sTokenAuth=SWITCH),
    enableInTreeAutoscaling=SWITCH, autoscalerOptions=ANY, gcsFaultToleranceOptions=ANY, headServiceAnnotations=TEXTS,
    suspend=SWITCH, managedBy=TEXT, upgradeStrategy=ANY,
)  # fmt: skip
JOB = record(
    ["entrypoint"], entrypoint=TEXT, rayClusterSpec=CLUSTER, backoffLimit=NUMBER, activeDeadlineSeconds=NUMBER,
    shutdownAfterJobFinishes=SWITCH, ttlSecondsAfterFinished=NUMBER, runtimeEnvYAML=TEXT, jobId=TEXT, suspend=SWITCH,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]}, submitterPodTemplate=ANY,
    submitterConfig=ANY, metadata=TEXTS, clusterSelector=TEXTS, entrypointResources=TEXT, managedBy=TEXT,
    entrypointNumCpus={"type": "number"}, entrypointNumGpus={"type": "number"}, deletionStrategy=ANY,
    preRunningDeadlineSeconds=NUMBER,
)  # fmt: skip
RAY_JOB = record(
    ["apiVersion", "kind", "metadata", "spec"], apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"},
    metadata=record(["name"], name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS), spec=JOB,
)  # fmt: skip


def pods() -> list[dict[str, Any]]:
    """Return the template of the head, and of each group of workers."""
    cluster = MANIFEST["spec"]["rayClusterSpec"]
    return [group["template"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]


def check_pod(template: dict[str, Any]) -> None:
    whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
    kubernetes_validate.validate(whole, KUBERNETES, strict=True)


def test_the_manifest_is_one_of_kuberay_with_pods_of_kubernetes() -> None:
    jsonschema.validate(MANIFEST, RAY_JOB)
    for template in pods():
        check_pod(template)
    slipped = {**MANIFEST, "spec": {**MANIFEST["spec"], "backofLimit": 3}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(slipped, RAY_JOB)


@pytest.mark.parametrize(
    ("right", "wrong"), [("secretRef", "secretref"), ("mountPath", "path"), ("containers", "container")]
)
def test_a_slip_in_a_pod_is_found(right: str, wrong: str) -> None:
    slipped = json.loads(json.dumps(pods()[0]).replace(f'"{right}"', f'"{wrong}"'))
    with pytest.raises(kubernetes_validate.ValidationError):
        check_pod(slipped)


def test_every_pod_has_the_images_that_the_command_reads() -> None:
    run = understood(MANIFEST["spec"]["entrypoint"])
    assert run["cluster"] == "127.0.0.1:6379" and run["resume"] and run["out"].startswith("s3://")
    assert len(pods()) == 2
    for template in pods():
        (first,), (ray,) = template["spec"]["initContainers"], template["spec"]["containers"]
        _, fetched = understood(shlex.join(first["command"]))["paths"]
        assert run["data"] == [fetched]
        (mount,) = ray["volumeMounts"]
        assert fetched.startswith(f"{mount['mountPath']}/") and first["volumeMounts"] == [mount]
        assert [volume["name"] for volume in template["spec"]["volumes"]] == [mount["name"]]
        assert first["image"] == ray["image"] and first["envFrom"] == ray["envFrom"]


def test_image_and_manifest_have_the_ray_that_is_tested() -> None:
    (tested,) = re.findall(r"^ray==(.*)$", (CHECKOUT / ".ci" / "constraints.txt").read_text(), re.MULTILINE)
    assert MANIFEST["spec"]["rayClusterSpec"]["rayVersion"] == tested
    assert f"rayproject/ray:{tested}-py311" in RECIPE
