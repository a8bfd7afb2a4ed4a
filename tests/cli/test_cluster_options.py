from __future__ import annotations

from pathlib import Path

import pytest

from medkit.batch.cluster.settings import ClusterSettings
from medkit.cli.cluster_options import cluster_settings
from medkit.dicom.network.tls import TlsFiles
from medkit.errors import UsageError

NONE = dict.fromkeys(("in_flight", "resources", "worker_folder", "tls_ca_file", "tls_cert", "tls_key"))


def settings(workers=1, scheduler=None, scheduler_file=None, **options):
    return cluster_settings(workers, scheduler, scheduler_file, **NONE | options)


def test_no_cluster_is_named_by_itself():
    assert settings() is None


def test_options_become_settings():
    assert settings(scheduler="tcp://head:8786") == ClusterSettings("tcp://head:8786")
    whole = settings(
        scheduler_file=Path("s.json"), in_flight=3, resources="GPU=1 MEMORY=2.5", worker_folder=Path("/mnt"),
        tls_ca_file=Path("ca"), tls_cert=Path("cert"), tls_key=Path("key"),
    )  # fmt: skip
    assert whole == ClusterSettings(
        scheduler_file=Path("s.json"),
        studies=3,
        resources={"GPU": 1.0, "MEMORY": 2.5},
        folder=Path("/mnt"),
        tls=TlsFiles(Path("cert"), Path("key"), Path("ca")),
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"in_flight": 3}, "--in-flight: expected a cluster"),
        (
            {"scheduler": "tcp://h:1", "workers": 2},
            "--workers: expected no number of workers beside a cluster",
        ),
        ({"scheduler": "tcp://h:1", "scheduler_file": Path("s")}, "got both"),
        ({"scheduler": "tcp://h:1", "resources": "GPU"}, "--resources: expected such as GPU=1, got GPU"),
        (
            {"scheduler": "tcp://h:1", "resources": "GPU=-1"},
            "--resources: expected such as GPU=1, got GPU=-1",
        ),
        ({"scheduler": "tcp://h:1", "tls_cert": Path("c")}, "expected an address that begins with tls://"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        settings(**options)
