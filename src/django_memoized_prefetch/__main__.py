"""`python -m django_memoized_prefetch plan ...`: plan_prefetch, where this package is not in INSTALLED_APPS."""

from __future__ import annotations

import sys

USAGE = """\
usage: python -m django_memoized_prefetch plan [--settings SETTINGS] app.Model lookup [lookup ...]

Tells what a run would fetch, from the keys of the rows alone. Needs DJANGO_SETTINGS_MODULE or --settings.
python -m django_memoized_prefetch plan --help says more."""


def main(argv: list[str]) -> int:
    if argv[1:2] != ["plan"]:
        print(USAGE, file=sys.stderr)
        return 0 if argv[1:] in ([], ["-h"], ["--help"]) else 2
    import django
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management.base import CommandParser, handle_default_options

    parser = CommandParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings")
    parser.add_argument("--pythonpath")
    handle_default_options(parser.parse_known_args(argv[2:])[0])
    sys.path.insert(0, "")
    if {"-h", "--help"} & set(argv[2:]):
        settings.configure()
    try:
        django.setup()
    except (ImproperlyConfigured, ImportError) as error:
        print(f"{error}\n\n{USAGE}", file=sys.stderr)
        return 1
    from .management.commands.plan_prefetch import Command

    Command().run_from_argv(["python -m django_memoized_prefetch", *argv[1:]])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
