"""The compose files are what Compose takes, and say the same as the configurations that they mount."""

from __future__ import annotations

import json
import re

import pytest

from medkit.batch.service.settings import read_settings
from tests.docker.files import DOCKER, ROOT, composed, load_yaml

PASSWORD = "of the test"
PLAIN, GPU = ("compose.yaml",), ("compose.yaml", "compose.gpu.yaml")
BOTH = pytest.mark.parametrize("files", [PLAIN, GPU], ids=["cpu", "gpu"])


@pytest.fixture(scope="module")
def written():
    return load_yaml((DOCKER / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def settings():
    return read_settings(DOCKER / "medkit" / "serve.yaml")


@pytest.fixture(scope="module")
def orthanc():
    return json.loads((DOCKER / "orthanc.json").read_text())


@BOTH
def test_compose_takes_them(files):
    done = composed(*files, ORTHANC_PASSWORD=PASSWORD)
    assert done.returncode == 0, done.stderr
    services = load_yaml(done.stdout)["services"]
    assert set(services) == {"medkit", "orthanc", "mlflow"}
    assert services["medkit"]["image"] == ("medkit:gpu" if files == GPU else "medkit:cpu")
    assert services["medkit"]["build"]["target"] == ("gpu" if files == GPU else "cpu")
    assert services["orthanc"]["environment"]["ORTHANC_PASSWORD"] == PASSWORD
    for service in services.values():
        assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_without_a_password_it_says_so():
    done = composed("compose.yaml")
    assert done.returncode != 0
    assert "ORTHANC_PASSWORD" in done.stderr


def test_services_can_do_no_more_than_they_must(written):
    for service in written["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"privileged", "cap_add", "network_mode", "pid", "user", "devices"}.isdisjoint(service)
        assert service["healthcheck"]["test"][0] == "CMD"
        assert service["mem_limit"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for volume in service["volumes"]:
            source, _, *mode = volume.split(":")
            assert source in written["volumes"] or mode == ["ro"]


def test_secrets_come_from_the_environment(written):
    for service in written["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET|KEY", name):
                assert value.startswith("${")


def test_training_is_asked_for(written):
    assert written["services"]["mlflow"]["profiles"] == ["training"]
    assert all("profiles" not in written["services"][name] for name in ("medkit", "orthanc"))


def test_ports_and_limits_are_those_of_the_settings(written, settings):
    service = written["services"]["medkit"]
    (node,) = settings.nodes
    inside = {int(port.split(":")[-1]) for port in service["ports"]}
    assert inside == {node.options["port"], settings.status_port}
    assert f":{settings.status_port}/health" in service["healthcheck"]["test"][-1]
    assert node.options["host"] == settings.status_host == "0.0.0.0"
    assert settings.limits.memory_bytes < int(service["mem_limit"].removesuffix("g")) * 2**30
    assert settings.limits.stop_seconds < int(service["stop_grace_period"].removesuffix("s"))
    assert service["command"] == ["serve", "/etc/medkit/serve.yaml"]
    assert "./medkit:/etc/medkit:ro" in service["volumes"]
    assert f"job:{settings.job.root}" in service["volumes"]


def test_settings_and_archive_know_each_other(written, settings, orthanc):
    (node,) = settings.nodes
    known = orthanc["DicomModalities"]["medkit"]
    assert (known["AET"], known["Host"], known["Port"]) == (node.ae_title, "medkit", node.options["port"])
    assert orthanc["DicomAet"] in node.callers
    (name,) = settings.sending
    options = settings.archives[name].options
    assert (options["host"], options["port"]) == ("orthanc", orthanc["DicomPort"])
    assert (options["ae_title"], options["own_ae_title"]) == (orthanc["DicomAet"], known["AET"])
    inside = {int(port.split(":")[-1]) for port in written["services"]["orthanc"]["ports"]}
    assert inside == {orthanc["DicomPort"], orthanc["HttpPort"]}
    assert f"studies:{orthanc['StorageDirectory']}" in written["services"]["orthanc"]["volumes"]


def test_rules_name_a_bundle_that_the_image_has(settings):
    assert {rule.bundle for rule in settings.rules} == {"hippocampus_segmentation_unet"}
    metadata = json.loads(
        (ROOT / "bundles" / settings.rules[0].bundle / "configs" / "metadata.json").read_text()
    )
    assert metadata.get("commercial_use", True)


def test_mlflow_has_the_options(written):
    from mlflow.cli import server

    words = written["services"]["mlflow"]["command"]
    assert words[0] == server.name
    known = {option for parameter in server.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words[1:]} <= known
