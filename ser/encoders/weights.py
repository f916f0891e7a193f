"""Obtain and verify the weights of an encoder: from your own folder, the mirror, earlier downloads or the
hub.

Only safetensors are read. ``pytorch_model.bin`` is a pickle, and unpickling a file runs any code that its
author put there.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from ser import SerError
from ser.download import mirror as mirrors
from ser.download.transfer import download
from ser.encoders import hub
from ser.encoders.table import TABLE, Row, row
from ser.params.encoder import Encoder
from ser.runtime.disk import TransferError, verify, whole
from ser.runtime.files import OF_ANOTHER_FORM
from ser.runtime.locks import alone
from ser.runtime.machine import at_home

WEIGHTS, PICKLE = "model.safetensors", "pytorch_model.bin"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
SOURCE = "source.json"
"""Written last: repository, commit and checksum. A folder of the cache that has this file is complete."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """The files of an encoder on this machine.

    Attributes:
        folder: holds config.json, model.safetensors and, if needed, preprocessor_config.json.
        sha256: of model.safetensors, verified.
        edition: origin of the bytes: ``official at <commit>``, ``mirror's own edition``, ``a folder of one's
            own``.
        terms: the licence and whether it allows commercial use.
    """

    folder: Path
    sha256: str
    edition: str
    terms: str


def obtain(settings: Encoder, *, mirror: str | None, cache: Path) -> Weights:
    """The files of the encoder that ``features.encoder`` names, fetched if necessary.

    Args:
        settings: name of the encoder, or path of your own folder.
        mirror: folder or address with ``encoders/<name>/``, tried before the cache and the hub; None for
            none.
        cache: folder outside the repository; downloads are kept in its folder ``encoders/<name>``.

    Raises:
        SerError: if a file cannot be fetched; the message says from where, why, and what to do. A rerun
            resumes.
    """
    if settings.path is not None:
        return _own(settings.name, at_home(settings.path))
    chosen = row(settings.name)
    (cache / "encoders" / chosen.name).mkdir(parents=True, exist_ok=True)
    fetching = _Fetching(chosen, mirror, cache / "encoders" / chosen.name)
    return fetching.from_mirror() or fetching.from_hub()


def _own(name: str, folder: Path) -> Weights:
    """The files in the user's own folder, verified against ``model.safetensors.sha256`` if it exists."""
    where = f"features.encoder.path: {folder}"
    if not (folder / WEIGHTS).is_file():
        if (folder / PICKLE).is_file():
            raise SerError(f"{where} holds {PICKLE} and no {WEIGHTS}\n{_no_pickle(str(folder))}")
        raise SerError(f"{where} holds no {WEIGHTS}; it must hold {CONFIG} and {WEIGHTS}, for a waveform encoder {PREPROCESSOR} too")
    try:
        checksum = mirrors.own_checksum(str(folder.parent), folder.name, WEIGHTS, "sha256")
        sums = verify(folder / WEIGHTS, checksum)
    except TransferError as error:
        raise SerError(
            f"{where}: {WEIGHTS}: {error}; bring the file again, or remove {WEIGHTS}.sha256 if it is of another edition"
        ) from None
    terms = {one.name: one.terms for one in TABLE}
    return Weights(folder, sums["sha256"], "a folder of one's own", terms.get(name, "licence unknown: a folder of one's own"))


@dataclass(frozen=True)
class _Fetching:
    """The download of an encoder of the table into the cache."""

    chosen: Row
    mirror: str | None
    kept: Path

    def from_mirror(self) -> Weights | None:
        """The files from the mirror; None if the mirror does not have this encoder."""
        if self.mirror is None:
            return None
        there = f"encoders/{self.chosen.name}"
        place = mirrors.place(self.mirror, there, WEIGHTS)
        try:
            own = mirrors.own_checksum(self.mirror, there, WEIGHTS, "sha256")
            checksum = own or _checksum(self.chosen.sha256)
            target = self.kept / f"mirror-{checksum.partition(':')[2][:16] if checksum else 'unverified'}"
            target.mkdir(exist_ok=True)
            with alone(target):
                sums = whole(target / WEIGHTS, checksum) if checksum else None
                sums = sums or mirrors.bring(self.mirror, there, WEIGHTS, target / WEIGHTS, checksum)
                if sums is None:
                    self._refuse_pickle(mirrors.has(self.mirror, there, PICKLE), mirrors.place(self.mirror, there, ""))
                    return None
                for name in self._small():
                    place = mirrors.place(self.mirror, there, name)
                    if not (target / name).is_file() and mirrors.bring(self.mirror, there, name, target / name, None) is None:
                        raise TransferError(f"the mirror holds {WEIGHTS} without it")
        except TransferError as error:
            hint = f"a mirror's own edition needs its sha256 beside it, in {mirrors.place(self.mirror, there, WEIGHTS)}.sha256"
            raise self._error(place, error, hint) from None
        if checksum is None:
            _LOG.warning("%s: no sha256 is known, so what came from the mirror is not verified; it is %s", self.chosen.name, sums["sha256"])
        official = (own is None and checksum is not None) or sums["sha256"] == self.chosen.sha256
        return self._weights(target, sums["sha256"], f"official at {self.chosen.commit}" if official else "mirror's own edition")

    def from_hub(self) -> Weights:
        """The files from the hub, or from an earlier download."""
        target = self.kept / (self.chosen.commit or "main")
        target.mkdir(exist_ok=True)
        with alone(target):
            source = self._earlier(target)
            if source is None:
                (target / SOURCE).unlink(missing_ok=True)
                commit, checksum = self._resolved()
                sums = {name: self._download(commit, name, target, checksum if name == WEIGHTS else None) for name in self._needed()}
                source = {"repository": self.chosen.repository, "commit": commit, "sha256": sums[WEIGHTS]["sha256"]}
                (target / SOURCE).write_text(json.dumps(source, indent=1) + "\n", encoding="utf-8")
        if not (self.chosen.commit and self.chosen.sha256):
            pin = f"commit {source['commit']}, sha256 {source['sha256']}"
            _LOG.info("%s is not pinned; to pin it, write into its line of ser/encoders/table.py: %s", self.chosen.name, pin)
        return self._weights(target, source["sha256"], f"official at {source['commit']}")

    def _earlier(self, target: Path) -> dict[str, str] | None:
        """``source.json`` of an earlier download, if it is complete and matches the table."""
        try:
            source = json.loads((target / SOURCE).read_text(encoding="utf-8"))
            commit, sha256 = str(source["commit"]), str(source["sha256"])
        except (FileNotFoundError, *OF_ANOTHER_FORM):
            return None
        pinned = self.chosen.sha256 in ("", sha256) and self.chosen.commit in ("", commit)
        here = all((target / name).is_file() for name in self._needed())
        return {"commit": commit, "sha256": sha256} if pinned and here and whole(target / WEIGHTS, f"sha256:{sha256}") else None

    def _resolved(self) -> tuple[str, str | None]:
        """Commit and checksum: from the table, else from the hub."""
        if self.chosen.commit and self.chosen.sha256:
            return self.chosen.commit, f"sha256:{self.chosen.sha256}"
        revision = self.chosen.commit or "main"
        try:
            held = hub.look_up(self.chosen.repository, revision)
        except TransferError as error:
            raise self._error(hub.listing(self.chosen.repository, revision), error) from None
        where = f"{hub.endpoint()}/{self.chosen.repository}"
        self._refuse_pickle(PICKLE in held.files and WEIGHTS not in held.files, where)
        if WEIGHTS not in held.files:
            raise self._error(where, TransferError(f"the repository has no {WEIGHTS} at {held.commit}"))
        return held.commit, _checksum(self.chosen.sha256 or held.sha256.get(WEIGHTS, ""))

    def _download(self, commit: str, name: str, target: Path, checksum: str | None) -> dict[str, str]:
        url = hub.address(self.chosen.repository, commit, name)
        try:
            # A broken transfer resumes only with a checksum, which can tell whether both parts belong to one
            # file.
            return download(url, target / name, checksum=checksum, title=f"{self.chosen.name}: {name}")
        except TransferError as error:
            raise self._error(url, error) from None

    def _small(self) -> tuple[str, ...]:
        return (CONFIG,) if self.chosen.family == "whisper" else (CONFIG, PREPROCESSOR)

    def _needed(self) -> tuple[str, ...]:
        return (*self._small(), WEIGHTS)

    def _weights(self, folder: Path, sha256: str, edition: str) -> Weights:
        return Weights(folder, sha256, edition, self.chosen.terms)

    def _refuse_pickle(self, only_pickle: bool, where: str) -> None:
        if only_pickle:
            raise SerError(f"encoder {self.chosen.name}: {where} holds {PICKLE} and no {WEIGHTS}\n{_no_pickle(self.chosen.repository)}")

    def _error(self, where: str, why: Exception, hint: str = "") -> SerError:
        """The message of any failure: what, from where, why, and what to do."""
        names = ", ".join(self._needed())
        holder = self.mirror or "<folder>"
        setting = "" if self.mirror else ", and set SER_MIRROR=<folder> (or runtime.mirror in params.yaml; a folder or an http(s) address)"
        ways = [
            f"put {names} of {self.chosen.repository} into {mirrors.place(holder, f'encoders/{self.chosen.name}', '')}{setting}",
            "or into any folder, and name it in features.encoder.path",
            *([hint] if hint else []),
            "run it again: a broken transfer resumes where it stopped",
            "features.encoder: null needs no encoder",
        ]
        lines = [f"encoder {self.chosen.name}: its weights could not be fetched", f"  from: {where}", f"  why: {why}", "  ways out:"]
        return SerError("\n".join([*lines, *(f"  - {way}" for way in ways)]))


def _checksum(sha256: str) -> str | None:
    return f"sha256:{sha256}" if sha256 else None


def _no_pickle(model: str) -> str:
    """Why a pickle is not read, and how to convert a trusted one to safetensors."""
    return (
        f"  why: {PICKLE} is a pickle, and reading one runs any code that its author put into it; only {WEIGHTS} is read\n"
        "  ways out:\n"
        f'  - if you trust it, convert it once: python -c "from transformers import AutoFeatureExtractor as F, AutoModel as M; '
        f"[one.from_pretrained('{model}').save_pretrained('<folder>') for one in (F, M)]\"\n"
        "    and set features.encoder.path to that folder\n"
        "  - or choose an encoder that is published as safetensors, such as any Whisper"
    )
