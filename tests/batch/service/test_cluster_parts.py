from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from medkit.batch.cluster.settings import ClusterSettings
from medkit.batch.folder import JobFolder
from medkit.batch.making import Outputs
from medkit.batch.service import parts
from medkit.batch.service.settings import Settings
from medkit.dicom.confidentiality import KEY_VARIABLE, Dates, fingerprint
from medkit.errors import UsageError
from tests.batch.making.studies import RULE

WITHOUT_DASK = """
import sys
for name in ("dask", "distributed", "tornado"):
    sys.modules[name] = None
import medkit.batch.service.supervisor, medkit.batch.cluster.connection, medkit.batch.cluster.making
import medkit.cli.batch_run, medkit.cli.serve
"""


def test_all_of_it_is_there_without_dask():
    subprocess.run([sys.executable, "-c", WITHOUT_DASK], check=True)


def test_a_cluster_without_dask_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(parts, "find_spec", lambda name: None)
    settings = Settings(JobFolder(tmp_path), (RULE,), cluster=ClusterSettings("tcp://head:8786"))
    with pytest.raises(UsageError, match=r"pip install 'medkit-imaging\[dask\]'"):
        parts.make_cluster(settings, print)


def test_workers_need_the_key_where_results_are_nobodys_alone(tmp_path, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "sixteen bytes or")
    settings = Settings(JobFolder(tmp_path), (RULE,))
    assert parts.wanted_key(settings) == {}
    (needed,) = parts.wanted_key(replace(settings, outputs=Outputs(deidentify=Dates.REMOVED))).values()
    assert needed == fingerprint(b"sixteen bytes or")


def test_workers_see_the_folder_of_the_batch_where_the_settings_say(tmp_path):
    settings = Settings(JobFolder(tmp_path), (RULE,))
    assert parts.seen_folder(settings) == JobFolder(tmp_path)
    elsewhere = Settings(
        JobFolder(tmp_path), (RULE,), cluster=ClusterSettings("tcp://h:1", folder=tmp_path / "seen")
    )
    assert parts.seen_folder(elsewhere).spool == tmp_path / "seen" / "spool"
