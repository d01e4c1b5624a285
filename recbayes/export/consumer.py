"""An export asked through TensorFlow's C API: by a C program (consumer.c) that knows nothing of recbayes, Python or Keras.

For whoever serves from C, C++, Java or Go: the program is where to start from, and this is how the tests and `benchmarks/serving.py`
talk to it. It is built against the TensorFlow of this environment, whose wheel holds the C API's headers and libraries.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from recbayes.export.saving import METADATA, MODEL
from recbayes.types import Array, UserError

SOURCE = Path(__file__).with_suffix(".c")


class Answer(NamedTuple):
    """What the program answered.

    outputs: by name; differing: answers of the repeated calls that were not the first's, bit by bit; seconds of each of them, and
    cpu_seconds that it kept its thread busy: [threads, times]. On a busy machine the latter say what the former would be on a quiet one.
    """

    outputs: dict[str, Array]
    differing: int
    seconds: Array
    cpu_seconds: Array


class Refused(RuntimeError):
    """TensorFlow's error status, its message as text."""


def build(target: str | os.PathLike[str], compiler: str = "gcc") -> Path:
    """Compiles the program.

    Args:
      target: file to write.
      compiler: a C compiler that is in the path.

    Returns: the file.
    Raises: UserError if there is no such compiler, or it fails.

    >>> build("consumer", compiler="no-such-compiler")
    Traceback (most recent call last):
    recbayes.types.UserError: no-such-compiler: not found. Install a C compiler, or name the one you have
    """
    if shutil.which(compiler) is None:
        raise UserError(f"{compiler}: not found. Install a C compiler, or name the one you have")
    spec = importlib.util.find_spec("tensorflow")
    home = Path(next(iter(spec.submodule_search_locations or []))) if spec is not None else Path()
    libraries = [f"-l:{name}.so.2" for name in ("libtensorflow_cc", "libtensorflow_framework")]
    command = [compiler, "-O2", "-Wall", str(SOURCE), f"-I{home}/include", f"-L{home}", *libraries, f"-Wl,-rpath,{home}", "-lpthread"]
    done = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{compiler} can't build {SOURCE.name}: {done.stderr.strip()[-500:]}")
    return Path(target)


class Consumer:
    """The program with one export loaded, as a context manager.

    Args:
      program: what `build` made.
      folder: the export.
      threads: of one call; 0 is one a core.

    Raises: UserError if TensorFlow can't load the export.
    """

    def __init__(self, program: str | os.PathLike[str], folder: str | os.PathLike[str], threads: int = 0) -> None:
        self.signatures = json.loads((Path(folder) / METADATA).read_text(encoding="utf-8"))["signatures"]
        quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [str(program), str(Path(folder) / MODEL), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=quiet)
        ready = self._pipe("stdout").read(8)
        if len(ready) < 8:
            said = self._pipe("stderr").read().decode(errors="replace").strip()
            self.__exit__()
            raise UserError(f"{folder}: the C API can't load it: {said[-500:]}")
        self.load_seconds = float(struct.unpack("d", ready)[0])

    def __enter__(self) -> Consumer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None, at: TracebackType | None = None
    ) -> None:
        for name in ("stdin", "stdout", "stderr"):
            self._pipe(name).close()
        self.process.wait()

    def ask(self, signature: str, inputs: Mapping[str, Any], *, threads: int = 1, times: int = 0) -> Answer:
        """One request.

        Args:
          signature: its name.
          inputs: arrays by input name; strings as objects, others in any type: they are sent as they are.
          threads: that repeat the request at once after the first answer.
          times: that each of them repeats it.

        Raises: Refused with TensorFlow's message if it answers with an error; RuntimeError if the program died.
        """
        declared = self.signatures[signature]
        names = {entry["name"]: entry["tensor"] for entry in declared["inputs"]}
        parts = [_u32(len(inputs))]
        for name, value in inputs.items():
            parts += [_text(names.get(name, name).encode()), _tensor(np.asarray(value))]
        parts += [_u32(len(declared["outputs"])), *(_text(entry["tensor"].encode()) for entry in declared["outputs"])]
        self._pipe("stdin").write(b"".join(parts) + _u32(threads) + _u32(times))
        self._pipe("stdin").flush()
        refused, message = self._number(), self._read(self._number())
        if refused:
            raise Refused(message.decode(errors="replace"))
        count = self._number()
        outputs = {entry["name"]: self._array() for entry in declared["outputs"][:count]}
        differing = self._number()
        clocks = np.frombuffer(self._read(16 * threads * times), np.float64).reshape(threads, 2, times)
        return Answer(outputs, differing, clocks[:, 0], clocks[:, 1])

    def _pipe(self, name: str) -> Any:
        return getattr(self.process, name)

    def _read(self, size: int) -> bytes:
        found: bytes = self._pipe("stdout").read(size)
        if len(found) < size:
            raise RuntimeError(f"the program died (exit {self.process.wait()})")
        return found

    def _number(self) -> int:
        return int(struct.unpack("I", self._read(4))[0])

    def _array(self) -> Array:
        dtype = tf.dtypes.as_dtype(self._number()).as_numpy_dtype
        shape = struct.unpack(f"{(rank := self._number())}q", self._read(8 * rank))
        return np.frombuffer(self._read(int(np.prod(shape)) * np.dtype(dtype).itemsize), dtype).reshape(shape)


def _tensor(value: Array) -> bytes:
    strings = value.dtype.kind in "OSU"
    kind = tf.string if strings else tf.dtypes.as_dtype(value.dtype)
    head = _u32(kind.as_datatype_enum) + _u32(value.ndim) + struct.pack(f"{value.ndim}q", *value.shape)
    if not strings:
        return head + value.tobytes()
    return head + b"".join(_text(entry if isinstance(entry, bytes) else str(entry).encode()) for entry in value.ravel().tolist())


def _text(value: bytes) -> bytes:
    return _u32(len(value)) + value


def _u32(value: int) -> bytes:
    return struct.pack("I", value)
