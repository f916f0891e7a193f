"""Fetch a published corpus: from a mirror, earlier runs, the official address or Kaggle; verify each archive."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ser.corpora.archives import ArchiveError, open_archive
from ser.download import kaggle, zenodo
from ser.download import mirror as mirrors
from ser.download.failure import FetchError, Wanted, failure
from ser.download.record import OFFICIAL, entry_of, source_record
from ser.download.transfer import ask, download
from ser.params.corpora import SUFFIXES, Links, Zenodo
from ser.runtime.disk import TransferError, copy, whole
from ser.runtime.locks import alone

Came = TypeVar("Came", dict[str, str], dict[str, str] | None)
_LOG = logging.getLogger(__name__)


@dataclass
class Published:
    """The download of one published corpus.

    Attributes:
        name: key of the corpus in ``params.yaml``; its folder in a mirror.
        given: where it is published.
        target: folder to fill.
        mirror: tried first; None for none.
        kept: archives of this corpus from earlier runs, outside the repository.
    """

    name: str
    given: Zenodo | Links
    target: Path
    mirror: str | None
    kept: Path

    def fetch(self) -> dict[str, Any]:
        """Fetch the archives from the mirror, the others from the official address, or all of them from
        Kaggle.

        Returns:
            The content of ``source.json``.

        Raises:
            FetchError: at the first archive that cannot be fetched.
        """
        entries: list[dict[str, Any]] = []
        editions: list[str] = []
        missing: list[Wanted] = []
        for wanted in self._named() or self._listed():
            came = self._from_mirror(wanted)
            if came is None:
                missing.append(wanted)
                continue
            entry, edition = came
            entries.append(entry)
            editions.append(edition)
        if missing or not entries:
            entries += self._official(missing)
        return source_record(self.name, sorted(entries, key=lambda entry: entry["name"]), editions or [OFFICIAL])

    def obstacle(self) -> FetchError | None:
        """Why ``fetch`` cannot succeed now. Asks only whether hosts answer, within seconds, and fetches
        nothing.

        Returns:
            An error such as ``fetch`` raises; None where each archive is at hand or a host that should have
            it answers.
        """
        try:
            named = self._named()
            missing = [one for one in named if not self._mirror_has(one.name, named)]
            if missing or not (named or self._mirror_has("", [])):
                self._ask_official(missing)
        except FetchError as error:
            return error
        return None

    def _named(self) -> list[Wanted]:
        """Archives that params.yaml names."""
        return [Wanted(archive.name, archive.url, archive.checksum) for archive in self.given.archives]

    def _listed(self) -> list[Wanted]:
        """Archives that the mirror holds, for a record whose archives params.yaml does not name."""
        if self.mirror is None:
            return []
        try:
            return [Wanted(name, None, None) for name in mirrors.listed(self.mirror, self.name)]
        except TransferError as error:
            raise self._error("the list of archives", mirrors.place(self.mirror, self.name, ""), error, []) from None

    def _from_mirror(self, wanted: Wanted) -> tuple[dict[str, Any], str] | None:
        """Entry and edition of an archive that the mirror holds, else None."""
        if self.mirror is None:
            return None
        place = mirrors.place(self.mirror, self.name, wanted.name)
        path = self.target / wanted.name
        try:
            own = mirrors.own_checksum(self.mirror, self.name, wanted.name)
            known, bring = own or wanted.checksum, partial(mirrors.bring, self.mirror, self.name, wanted.name)
            sums = bring(path, known) if known is not None else self._opened_first(path, lambda fresh: bring(fresh, None))
            if sums is None:
                return None
        except TransferError as error:
            hint = f"a mirror's own edition needs its md5 beside it, in {place}.md5"
            raise self._error(wanted.name, place, error, [wanted], hint) from None
        except ArchiveError as error:
            raise self._error(wanted.name, place, error, [wanted]) from None
        if wanted.checksum is not None and wanted.checksum.partition(":")[2] in sums.values():
            return entry_of(self.target, wanted.name, wanted.url, "official", sums), OFFICIAL
        if own is not None:
            return entry_of(self.target, wanted.name, None, "mirror", sums), f"mirror's own edition of {wanted.name} (md5 {sums['md5']})"
        _LOG.warning(
            "%s: no checksum of %s is known, so the file is not verified; to pin it: sha256:%s", self.name, wanted.name, sums["sha256"]
        )
        return entry_of(self.target, wanted.name, None, "mirror", sums), f"{wanted.name} from a mirror, not verified (md5 {sums['md5']})"

    def _official(self, missing: list[Wanted]) -> list[dict[str, Any]]:
        """Archives from their official addresses, else the whole corpus from Kaggle."""
        try:
            wanted = self._resolved(missing) if isinstance(self.given, Zenodo) else missing
            return [self._from_address(one, wanted) for one in wanted]
        except FetchError as error:
            handle = self._kaggle(missing)
            if handle is None:
                raise
            _LOG.warning("%s\ntrying Kaggle", error)
            try:
                return [self._from_kaggle(handle)]
            except TransferError as second:
                raise self._error("the data set", f"Kaggle, {handle}", second, missing) from None

    def _kaggle(self, missing: list[Wanted]) -> str | None:
        """The data set on Kaggle that can stand in for these archives, if the user may have it."""
        if not isinstance(self.given, Links) or len(missing) < len(self.given.archives) or not kaggle.has_token():
            return None
        return self.given.kaggle

    def _resolved(self, missing: list[Wanted]) -> list[Wanted]:
        """Addresses, sizes and checksums from the record's API; what params.yaml pins wins, and must agree."""
        assert isinstance(self.given, Zenodo)
        pinned = bool(missing) and all(one.url and one.checksum for one in missing)
        if pinned and all(self._at_hand(one) for one in missing):
            return missing
        try:
            files = {file.name: file for file in zenodo.record_files(self.given.record, self._record())}
        except TransferError as error:
            if pinned and not error.unreachable:
                _LOG.warning("%s: %s does not answer (%s); using the addresses and checksums of params.yaml", self.name, self._api(), error)
                return missing
            raise self._error(f"the list of files of Zenodo record {self.given.record}", self._api(), error, missing) from None
        if not missing:
            missing = [Wanted(name, None, None) for name in files if name.lower().endswith(SUFFIXES)]
        absent = [one.name for one in missing if one.name not in files]
        if absent or not missing:
            self._record().unlink(missing_ok=True)
            why = TransferError(f"the record has no such file; it has: {', '.join(files) or 'none'}")
            raise self._error(", ".join(absent) or "any zip or tar", self._api(), why, missing)
        return [self._agreed(one, files[one.name]) for one in missing]

    def _agreed(self, wanted: Wanted, file: zenodo.RecordFile) -> Wanted:
        kind = wanted.checksum.partition(":")[0] if wanted.checksum else ""
        if wanted.checksum and file.checksum.startswith(kind) and file.checksum != wanted.checksum:
            why = TransferError(
                f"params.yaml pins {wanted.checksum}, but the record's API says {file.checksum}: another edition was published, or the pin "
                f"is wrong; correct corpora.{self.name}.source.archives (null takes the API's)"
            )
            raise self._error(wanted.name, self._api(), why, [wanted])
        return Wanted(wanted.name, wanted.url or file.url, wanted.checksum or file.checksum, file.size)

    def _from_address(self, wanted: Wanted, all_wanted: list[Wanted]) -> dict[str, Any]:
        """An archive from the cache, which is first filled from the official address if it lacks the archive."""
        url, path = self._address(wanted, all_wanted), self.target / wanted.name
        try:
            if wanted.checksum is None:
                title = f"{self.name}: {wanted.name}"
                sums = self._opened_first(path, lambda fresh: download(url, fresh, size=wanted.size, title=title))
            else:
                sums = whole(path, wanted.checksum) or self._from_kept(wanted, url, path)
        except ArchiveError as error:
            raise self._error(wanted.name, url, error, [wanted]) from None
        except TransferError as error:
            if not error.unreachable:
                self._record().unlink(missing_ok=True)  # the next run asks again, in case the remembered record is wrong
            raise self._error(wanted.name, url, error, [one for one in all_wanted if not (self.target / one.name).exists()]) from None
        if wanted.checksum is None:
            _LOG.warning(
                "%s: no checksum of %s is known, so the file is not verified; to pin it: sha256:%s", self.name, wanted.name, sums["sha256"]
            )
        return entry_of(self.target, wanted.name, url, "official", sums)

    def _opened_first(self, path: Path, bring: Callable[[Path], Came]) -> Came:
        """Bring an archive of which no checksum is known. It takes its place only if it can be opened: it might be cut off.

        Args:
            path: its place in ``target``.
            bring: fetches it to a path; returns its hashes, or None where there is none.

        Raises:
            ArchiveError: if it is no whole archive.
        """
        with tempfile.TemporaryDirectory(dir=self.target) as beside:
            fresh = Path(beside, path.name)
            sums = bring(fresh)
            if sums is not None:
                try:
                    with open_archive(fresh):
                        pass
                except ArchiveError as error:
                    raise ArchiveError(str(error).replace(str(fresh), path.name)) from None
                os.replace(fresh, path)
        return sums

    def _from_kept(self, wanted: Wanted, url: str, path: Path) -> dict[str, str]:
        """Copy an archive from those of earlier runs; download it there first if it is missing."""
        assert wanted.checksum is not None
        kept, title = self._kept(wanted), f"{self.name}: {wanted.name}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        with alone(kept):
            if whole(kept, wanted.checksum) is None:
                download(url, kept, size=wanted.size, checksum=wanted.checksum, title=title)
        return copy(kept, path, checksum=wanted.checksum, title=f"{title} into place")

    def _from_kaggle(self, handle: str) -> dict[str, Any]:
        path = self.target / f"{handle.partition('/')[2]}.zip"
        kaggle.download(handle, path)
        return entry_of(self.target, path.name, f"https://www.kaggle.com/datasets/{handle}", "kaggle")

    def _mirror_has(self, name: str, named: list[Wanted]) -> bool:
        """Whether the mirror has an archive; with an empty name, any."""
        if self.mirror is None:
            return False
        try:
            return mirrors.has(self.mirror, self.name, name)
        except TransferError as error:
            place = mirrors.place(self.mirror, self.name, name)
            raise self._error(name or "the list of archives", place, error, named) from None

    def _ask_official(self, missing: list[Wanted]) -> None:
        """Ask the hosts of what is not at hand, else Kaggle; of a record that is not known yet, its API."""
        if isinstance(self.given, Zenodo) and self._record().is_file():
            missing = self._resolved(missing)
        try:
            for one in missing or [Wanted("the list of its files", self._api(), None)]:
                if one.checksum is None or not self._at_hand(one):
                    self._ask(one, missing)
        except FetchError:
            if self._kaggle(missing) is None:
                raise
            self._ask(Wanted("the data set", kaggle.ADDRESS, None), missing)

    def _ask(self, wanted: Wanted, missing: list[Wanted]) -> None:
        url = self._address(wanted, missing)
        try:
            ask(url)
        except TransferError as error:
            raise self._error(wanted.name, url, error, missing) from None

    def _address(self, wanted: Wanted, missing: list[Wanted]) -> str:
        """Official address of an archive; of one that the record has yet to name, the record's API."""
        if wanted.url is None and not isinstance(self.given, Zenodo):
            why = TransferError(f"params.yaml has no address for it (corpora.{self.name}.source.archives)")
            raise self._error(wanted.name, "nowhere", why, missing)
        return wanted.url or self._api()

    def _at_hand(self, wanted: Wanted) -> bool:
        return (self.target / wanted.name).is_file() or self._kept(wanted).is_file()

    def _kept(self, wanted: Wanted) -> Path:
        """Where an archive with a known checksum is kept; editions do not push each other out."""
        assert wanted.checksum is not None
        return self.kept / wanted.checksum.replace(":", "-") / wanted.name

    def _record(self) -> Path:
        return self.kept / f"record-{getattr(self.given, 'record', 0)}.json"

    def _api(self) -> str:
        assert isinstance(self.given, Zenodo)
        return zenodo.address(self.given.record)

    def _error(self, what: str, where: str, why: Exception, missing: list[Wanted], hint: str = "") -> FetchError:
        return failure(self.name, self.given, self.mirror, what, where, why, missing, hint)
