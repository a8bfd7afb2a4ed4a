"""Whether a folder lies on a disk of this machine."""

from __future__ import annotations

from pathlib import Path

import psutil

from medkit.errors import UsageError

__all__ = ["check_own_disk"]

# File systems that several machines write to. FUSE may be anything, and so is told by its helper's name.
_SHARED = frozenset(
    {
        *(
            "9p",
            "afs",
            "beegfs",
            "ceph",
            "cifs",
            "glusterfs",
            "gpfs",
            "lustre",
            "ncpfs",
            "nfs",
            "nfs4",
            "ocfs2",
        ),
        *("orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "wekafs"),
        *("fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.s3fs", "fuse.sshfs"),
    }
)


def check_own_disk(folder: Path) -> None:
    """See that a ledger may lie in a folder: SQLite's log loses what it holds over a network file system.

    Raises:
        UsageError: it is on a network file system.
    """
    found = folder.resolve()
    mounts = {Path(one.mountpoint): one.fstype for one in psutil.disk_partitions(all=True)}
    mount = next(parent for parent in (found, *found.parents) if parent in mounts or parent == Path("/"))
    kind = mounts.get(mount, "")
    if kind in _SHARED:
        raise UsageError(
            f"{folder}: expected a folder on a disk of this machine, for the ledger in it, got {kind}; name "
            "another, and let only its 'spool' and 'results' be links into the shared file system"
        )
