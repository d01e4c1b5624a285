"""The run folder: what each stage wrote, from which inputs, and nothing half done.

A stage writes into `.work/STAGE` inside the folder. When it is done, its files are renamed into place and stages.json says from
which inputs they came, so a killed run leaves either the old files or the new ones, and a later run skips what is still right. One
run at a time: an OS lock on `.lock` that dies with its process.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as home, RunFolder.open(Path(home) / "run") as folder:
...     with folder.stage("audit", {"log": "1f3a"}):
...         _ = folder.output("audit.json").write_text("{}")
...     folder.is_fresh("audit", {"log": "1f3a"}), folder.is_fresh("audit", {"log": "77b0"})
(True, False)
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from recbayes import __version__
from recbayes.types import Interrupted, UserError


class RunFolder:
    """One run's files. Open it with `RunFolder.open` to write, with `RunFolder.read` to look.

    Attributes:
      path: the folder.
      stages: stages.json's record of each stage: inputs, outputs with their digests, started, seconds, summary.
    """

    def __init__(self, path: Path, stages: dict[str, dict[str, Any]]) -> None:
        self.path = path
        self.stages = stages
        self._work: Path | None = None

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """An existing run folder, to read from.

        Raises: UserError if it is none, or another version's.
        """
        path = Path(path)
        if not path.exists():
            raise UserError(f"{path}: no such run folder. `recbayes run CONFIG --out {path}` makes one.")
        return cls(path, _recorded(path))

    @classmethod
    @contextmanager
    def open(cls, path: str | Path) -> Iterator[Self]:
        """A run folder to write to, made if need be and locked until the block ends.

        Raises: UserError if another run holds it, if it is another version's, or if it holds other things than a run.
        """
        path = Path(path)
        if path.exists():
            _recorded(path)
        else:
            try:
                path.mkdir(parents=True, exist_ok=True)
            except NotADirectoryError:
                raise UserError(f"{path}: a file stands where its folder should be. Give --out another folder.") from None
        with _locked(path):
            if not (path / "stages.json").exists():
                _write_stages(path, {})
            folder = cls(path, _recorded(path))
            folder._mend()
            yield folder

    def is_fresh(self, stage: str, inputs: Mapping[str, str]) -> bool:
        """Whether the stage's files are there, unchanged, and made from these inputs."""
        record = self.stages.get(stage)
        if record is None or record["inputs"] != dict(inputs):
            return False
        return all((self.path / name).exists() and digest(self.path / name) == known for name, known in record["outputs"].items())

    @contextmanager
    def stage(
        self, name: str, inputs: Mapping[str, str], *, also: Mapping[str, str] | None = None, spent: float = 0.0
    ) -> Iterator[dict[str, Any]]:
        """A block that makes a stage's files: `output` says where to write them, and when the block ends they are put into place.

        An interrupted block leaves the folder's files as they were and keeps `checkpoints` for the next try with the same inputs; after
        a mistake that only other inputs mend (a UserError that is not Interrupted) they go.

        Args:
          name: the stage.
          inputs: what the files depend on, name -> digest.
          also: texts to write beside the stage's own files (config.yaml), name -> text.
          spent: seconds that the stage took before the block, to be counted in.
        Yields: a dict for the stage's summary, kept in stages.json.
        """
        started, clock = datetime.now(UTC), time.monotonic()
        self._work = self.path / ".work" / f"{name}-{digest_of(inputs)}"
        for stale in self.path.glob(f".work/{name}-*"):
            shutil.rmtree(stale if stale != self._work else stale / "out", ignore_errors=True)
        (self._work / "out").mkdir(parents=True, exist_ok=True)
        summary: dict[str, Any] = {}
        try:
            yield summary
            outputs = {path.name: digest(path) for path in sorted((self._work / "out").iterdir())}
            for text, content in (also or {}).items():
                (self._work / "out" / text).write_text(content, encoding="utf-8")
            self._publish(self._work / "out")
            for gone in set(self.stages.get(name, {}).get("outputs", {})) - set(outputs):
                _remove(self.path / gone)
            self.stages[name] = {
                "inputs": dict(inputs),
                "outputs": outputs,
                "started": started.isoformat(timespec="seconds"),
                "seconds": round(spent + time.monotonic() - clock, 2),
                "summary": summary,
            }
            _write_stages(self.path, self.stages)
            shutil.rmtree(self.path / ".work")
        except Interrupted:
            raise
        except UserError:
            shutil.rmtree(self.path / ".work", ignore_errors=True)
            raise
        finally:
            self._work = None

    def output(self, name: str) -> Path:
        """Where the running stage writes a file or a folder that will be `name` in the run folder."""
        return self._working() / "out" / name

    @property
    def checkpoints(self) -> Path:
        """A folder of the running stage that outlives a kill; it is gone once the stage is done."""
        path = self._working() / "checkpoints"
        path.mkdir(exist_ok=True)
        return path

    def outputs_digest(self, stage: str) -> str:
        """One digest of all that a stage wrote."""
        return digest_of(self.stages[stage]["outputs"])

    def _working(self) -> Path:
        if self._work is None:
            raise RuntimeError("no stage is running: use `with folder.stage(...)`")
        return self._work

    def _publish(self, made: Path) -> None:
        """Renames what was made into place; a folder's old version steps aside first."""
        _sync(made)
        for new in sorted(made.iterdir()):
            target = self.path / new.name
            if target.is_dir():
                target.rename(self.path / f".old-{new.name}")
            os.replace(new, target)
            _remove(self.path / f".old-{new.name}")
        _sync_one(self.path)

    def _mend(self) -> None:
        """After a kill between the two renames of `_publish`: the old version comes back, or goes."""
        for old in self.path.glob(".old-*"):
            target = self.path / old.name.removeprefix(".old-")
            if target.exists():
                _remove(old)
            else:
                old.rename(target)


def digest(path: Path) -> str:
    """A digest of a file's bytes, or of a folder's files and their names."""
    if path.is_dir():
        return digest_of({str(file.relative_to(path)): digest(file) for file in sorted(path.rglob("*")) if file.is_file()})
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def digest_of(value: Any) -> str:
    """A digest of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _recorded(path: Path) -> dict[str, dict[str, Any]]:
    """The records of stages.json, empty for an empty folder."""
    file = path / "stages.json"
    if path.is_dir() and not file.exists():
        others = sorted(entry.name for entry in path.iterdir() if entry.name not in (".lock", ".stages.json"))
        if not others:
            return {}
        raise UserError(
            f"{path}: not a run folder: it holds {', '.join(others[:3])} and no stages.json. Give --out a new or an empty folder."
        )
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        version, stages = record["recbayes"], record["stages"]
    except NotADirectoryError:
        raise UserError(f"{path}: a file, not a run folder. Give --out a new or an empty folder.") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{file}: not a run's record. Give --out a new folder, or remove {path}.") from None
    if str(version).split(".")[:2] != __version__.split(".")[:2]:
        raise UserError(
            f"{path}: written by recbayes {version}, this is {__version__}, and their files differ. "
            "Give --out a new folder, remove this one, or use it with the version that wrote it."
        )
    return dict(stages)


def _write_stages(path: Path, stages: Mapping[str, Any]) -> None:
    """Writes stages.json beside and renames it."""
    beside = path / ".stages.json"
    beside.write_text(json.dumps({"recbayes": __version__, "stages": stages}, indent=2) + "\n", encoding="utf-8")
    _sync_one(beside)
    os.replace(beside, path / "stages.json")
    _sync_one(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the folder's lock."""
    with (path / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{path}: another recbayes run is at work in this folder. Wait for it, or give --out another folder.") from None
        yield


def _sync(folder: Path) -> None:
    """Asks the OS to put a folder's files on the disk."""
    for path in [*folder.rglob("*"), folder]:
        _sync_one(path)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Removes a file or a folder that may be gone already."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
