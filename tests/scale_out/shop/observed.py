"""What the checks need to see of the workers: which process began which part, and time enough to kill one within it."""

import os
import sys
import time

# Every page of books takes so many seconds.
PAGE = float(os.environ.get("SHOP_PAGE", "0"))


def begin():
    """Writes a line "process, file" when a part's unfinished file is opened, and makes pages of books slow."""
    log = os.open(os.environ["SHOP_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(event, arguments):
        if event == "open" and arguments[1] == "w" and isinstance(arguments[0], (str, os.PathLike)):
            name = os.path.basename(os.fspath(arguments[0]))
            if "-of-" in name:
                os.write(log, f"{os.getpid()} {name}\n".encode())

    sys.addaudithook(note)
    if PAGE:
        from django.db.backends.signals import connection_created

        connection_created.connect(slow_down, dispatch_uid="slow_down")


def slow_down(connection, **_):
    if slowly not in connection.execute_wrappers:
        connection.execute_wrappers.append(slowly)


def slowly(execute, sql, *arguments):
    if 'FROM "shop_book"' in sql and "title" in sql:
        time.sleep(PAGE)
    return execute(sql, *arguments)
