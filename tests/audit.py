"""``make audit``: known vulnerabilities of the installed packages, licences, and credentials in the repository.

Ends with 0 where all is well, 1 where something was found, and 2 where nothing was found but the service that knows
vulnerabilities could not be asked: that is no clean bill.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests import credentials, licences

PACKAGES = sysconfig.get_path("purelib")
"""Folder of the installed packages."""
PATIENCE = 900.0
"""Seconds for the questions about all packages."""


class NotAsked(Exception):
    """The service of vulnerabilities did not answer; the message says why."""


def vulnerabilities(auditor: Path, packages: str = PACKAGES, patience: float = PATIENCE) -> tuple[list[str], list[str]]:
    """Known vulnerabilities of installed packages, one a line; and the packages that the service does not know.

    Args:
        auditor: the program ``pip-audit``, in an environment of its own.
        packages: folder of the packages.
        patience: seconds after which the service has not answered.

    Raises:
        NotAsked: if there is no auditor, or the service does not answer.
    """
    command = [str(auditor), "--path", packages, "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotAsked(str(error)) from None
    try:
        answers = json.loads(done.stdout)["dependencies"]
        known = [
            f"{one['name']} {one['version']}: {flaw['id']}; fixed in {', '.join(flaw['fix_versions']) or 'no release'}"
            for one in answers
            for flaw in one.get("vulns", [])
        ]
        unknown = [f"{one['name']}: {one['skip_reason']}" for one in answers if "skip_reason" in one]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # not the answer of pip-audit
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["no answer"]
        raise NotAsked(f"pip-audit ended with {done.returncode}: {last[0].strip()[:300]}") from None
    if len(unknown) == len(answers):
        raise NotAsked(f"the service knows none of {len(answers)} packages")
    return known, unknown


def other_licences() -> list[str]:
    """Where docs/dependencies.md is not what is installed, one a line."""
    page = licences.rows(licences.PAGE.read_text(encoding="utf-8"))
    packages, missing = licences.resolved()
    said = [f"{one.name} ({one.licence}) is not on the page" for one in packages if one.name not in page]
    for one in packages:
        there = page.get(one.name)
        if there and one.name not in licences.ELSEWHERE and licences.families(there[0]) != licences.families(one.licence):
            said.append(f"{one.name} has the licence {one.licence!r}; the page says {there[0]!r}")
        if there and there[1] != one.needed:
            said.append(f"{one.name} is needed for {one.needed}; the page says {there[1]!r}")
    if not missing:  # with an optional package left out, its dependencies are not known here
        gone = page.keys() - licences.ELSEWHERE.keys() - {one.name for one in packages}
        said += [f"{name} is on the page and nothing needs it" for name in sorted(gone)]
    return said


def main(auditor: Path) -> int:
    """Print all that is found."""
    bad = [f"credential: {line}" for line in credentials.found()]
    bad += [f"licence: {line}; run `python -m tests.licences`" for line in other_licences()]
    asked, unknown = True, list[str]()
    try:
        known, unknown = vulnerabilities(auditor)
    except NotAsked as error:
        asked = False
        print(f"NOT ASKED for known vulnerabilities: {error}\nThis is no clean bill. Run `make audit` where the network reaches pypi.org.")
    else:
        bad += [f"vulnerability: {line}" for line in known]
        for line in unknown:
            print(f"not known to the service: {line}")
    for line in bad:
        print(line)
    clean = f"; no known vulnerability, {len(unknown)} package(s) not known to the service" if asked else ""
    print(f"{len(bad)} found" if bad else f"no credentials; licences as docs/dependencies.md says{clean}")
    return 1 if bad else 0 if asked else 2


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("error: give the program pip-audit, as `make audit` does: python -m tests.audit PROGRAM")
    sys.exit(main(Path(sys.argv[1])))
