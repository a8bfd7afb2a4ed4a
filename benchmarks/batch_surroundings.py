"""What is around a service: a disk that gets full, an archive that stops, and who sends studies."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from batch_studies import WAYS, Sample
from batch_verdicts import Held

from medkit.batch.identity import hash_uid
from medkit.dicom.network.archive import ArchiveDown, ArchiveRefused
from medkit.dicom.network.content import content_hash
from medkit.dicom.network.dimse import DimseArchive
from medkit.dicom.objects import read_uids
from medkit.dicom.rejected import rejected_instances
from tests.servers.loopback import free_port
from tests.servers.orthanc import Orthanc, orthanc_in

DISK_MIB = 2048
_AGAIN_SECONDS = 1.0


class Disk:
    """A disk of the batch's own, in memory, that can be filled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @contextmanager
    def mounted(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        call = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(self.folder)]
        if subprocess.run(call, check=False).returncode:
            sys.exit("expected to be root, who can mount a small disk to fill it, got somebody else")
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self, left_bytes: int) -> None:
        """Leave so much free, whatever others take or give meanwhile."""
        with self._ballast.open("ab") as file, suppress(OSError):
            while (more := shutil.disk_usage(self.folder).free - left_bytes) > 0:
                file.write(bytes(min(more, 1 << 24)))
                file.flush()

    def free(self) -> None:
        """Give all of it back."""
        self._ballast.unlink(missing_ok=True)


class Archive:
    """An Orthanc that is stopped and started again with what it has."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ports, self._running = folder, (free_port(), free_port()), ExitStack()
        self.orthanc = self.start()

    def start(self) -> Orthanc:
        orthanc: Orthanc = self._running.enter_context(orthanc_in(self._folder, self._ports))
        return orthanc

    def stop(self) -> None:
        self._running.close()

    def held(self, folder: Path) -> list[Held]:
        """Everything in it, asked of its own interface, which is none of those that are tested."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        found = []
        for name in self.orthanc.ask("/instances"):
            path = folder / f"{name}.dcm"
            path.write_bytes(self.orthanc.ask(f"/instances/{name}/file"))
            found.append(held_in(path))
        return found


def held_in(path: Path) -> Held:
    """An object in a file."""
    uids = read_uids(path)
    return Held(hash_uid(uids.study), uids.instance, content_hash(path), frozenset(rejected_instances(path)))


class Senders:
    """A scanner that sends one study after the other until all of it was taken, and a person who fills a folder.

    Args:
        port: of the node.
        incoming: the watched folder.
    """

    def __init__(self, port: int, incoming: Path) -> None:
        self._scanner = DimseArchive("127.0.0.1", port, "MEDKIT", own_ae_title="SCANNER", seconds=20)
        self._incoming = incoming
        self._queue: SimpleQueue[Sample] = SimpleQueue()
        self._thread = Thread(target=self._run, name="scanner", daemon=True)
        self._thread.start()
        self.again = 0

    def bring(self, sample: Sample) -> None:
        """Every other study comes through the folder."""
        if sample.number % 2 or (sample.way and WAYS[sample.way].in_a_folder):
            hidden = self._incoming / f".{sample.number}"
            shutil.copytree(sample.folder, hidden)
            hidden.rename(self._incoming / str(sample.number))
        else:
            self._queue.put(sample)

    def _run(self) -> None:
        while True:
            sample = self._queue.get()
            second = [path for path in sample.files if path.name.startswith("zz")]
            for some in ([path for path in sample.files if path not in second], second):
                self._send({read_uids(path).instance: path for path in some})

    def _send(self, left: dict[str, Path]) -> None:
        while left:
            with suppress(ArchiveDown, ArchiveRefused):
                answers = self._scanner.send(list(left.values()))
                left = {uid: path for uid, path in left.items() if answers.get(uid, "nothing") is not None}
            if left:
                self.again += 1
                time.sleep(_AGAIN_SECONDS)
