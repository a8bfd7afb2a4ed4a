from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from medkit.batch.cluster.disks import check_own_disk
from medkit.errors import UsageError


@pytest.fixture
def mounted(monkeypatch, tmp_path):
    def mount(**kinds: str) -> None:
        found = [SimpleNamespace(mountpoint="/", fstype="ext4")]
        found += [
            SimpleNamespace(mountpoint=str(tmp_path / name), fstype=kind) for name, kind in kinds.items()
        ]
        monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)

    return mount


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "cifs", "fuse.sshfs"])
def test_a_ledger_on_a_network_file_system_is_refused(mounted, tmp_path, kind):
    mounted(share=kind)
    with pytest.raises(UsageError, match=f"expected a folder on a disk of this machine, .* got {kind}"):
        check_own_disk(tmp_path / "share" / "night")
    (tmp_path / "link").symlink_to(tmp_path / "share")
    with pytest.raises(UsageError):
        check_own_disk(tmp_path / "link" / "night")


def test_a_disk_of_this_machine_is_taken(mounted, tmp_path):
    mounted(share="nfs", disk="xfs")
    check_own_disk(tmp_path / "disk" / "night")
    check_own_disk(tmp_path / "shared-by-name-alone")
    check_own_disk(tmp_path)
