"""``ser serve``: its arguments."""

from __future__ import annotations

import argparse

from ser.serving.options import number, whole


def add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of ``ser``."""
    serve = commands.add_parser(
        "serve",
        help="a page in the browser, and POST /predict",
        description="A page on this machine: record or drop a file, and see its emotions; POST /predict for programs. Needs ser[serve].",
    )
    serve.add_argument("--bundle", metavar="BUNDLE", help="model, as of ser predict")
    serve.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on; default: this machine only")
    serve.add_argument("--port", type=whole(0, 65535), default=8000, metavar="N", help="port; 0: any free one (default 8000)")
    serve.add_argument("--token", metavar="TEXT", help="what clients have to know; made up where --host is not this machine's own")
    serve.add_argument("--max-mb", type=number(0.001, 2000), default=50.0, metavar="MB", help="largest upload (default 50)")
    serve.add_argument("--max-minutes", type=number(0.01, 600), default=10.0, metavar="M", help="longest recording (default 10)")
    serve.add_argument(
        "-j", "--jobs", type=whole(1, 64), default=1, metavar="N", help="recordings judged at once, each in a process (default 1)"
    )
    serve.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    from ser.serving.page.listen import serve  # asyncio alone would make every command start later

    return serve(options)
