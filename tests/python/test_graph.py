"""The comparison can fail: one thing that differs, of each sort, is found."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Prefetch, QuerySet, prefetch_related_objects

from tests.python.archive.models import WithSlots
from tests.python.conftest import rows_of_a_module
from tests.python.databases import on_one_database
from tests.python.graph import Comparison, are_identical, assert_alike, assert_identical
from tests.python.theatre.models import Genre, ListedWork, Person, Play, Role, Work
from tests.python.theatre.rows import fill_theatre

rows = rows_of_a_module(lambda: fill_theatre(5, 5))
pytestmark = [on_one_database, pytest.mark.usefixtures("rows")]

PATHS = ["author__hometown", "genres", "roles", "notes", "author__locker", "company"]


def is_ordered(name: str) -> bool | None:
    return {"chosen": True, "unordered": False}.get(name)


def plays() -> list[Play]:
    """With a play that has an author, at least two genres, and a role; and all that is attached to each."""
    found = list(Play.objects.filter(author__lt=99, genres__isnull=False, roles__isnull=False).distinct())
    found = [play for play in found if play.genres.count() > 1]
    lookups = [
        *PATHS,
        Prefetch("genres", Genre.objects.order_by("name"), to_attr="chosen"),
        Prefetch("tags", to_attr="unordered"),
    ]
    prefetch_related_objects(found, *lookups)
    return found


def compare(ours: list[Any], theirs: list[Any]) -> None:
    assert_alike(ours, theirs, PATHS, to_attrs=is_ordered)


def cache_of(one: Any) -> dict[str, Any]:
    cache: dict[str, Any] = one._state.fields_cache
    return cache


def replaced(play: Play, name: str, change: Callable[[list[Any]], Any]) -> None:
    """Another list of rows in the queryset that is attached."""
    queryset = play._prefetched_objects_cache[name]
    queryset._result_cache = list(change(list(queryset._result_cache)))


class OtherQuerySet(QuerySet):  # type: ignore[type-arg]
    pass


def in_other_class(play: Play) -> None:
    play._prefetched_objects_cache["genres"].__class__ = OtherQuerySet


def without_rows(play: Play) -> None:
    play._prefetched_objects_cache["roles"]._result_cache = None


def counting_wrong(play: Play) -> None:
    play._prefetched_objects_cache["genres"].count = lambda: 99


def existing_wrong(play: Play) -> None:
    play._prefetched_objects_cache["genres"].exists = lambda: False


CHANGES: dict[str, Callable[[Play], Any]] = {
    "a column": lambda play: setattr(play, "name", "other"),
    "a column's type": lambda play: vars(play).update(rank=float(play.rank)),
    "an attribute more": lambda play: setattr(play, "more", 1),
    "a column less": lambda play: vars(play).pop("rank"),
    "a column of a related row": lambda play: setattr(play.author, "name", "other"),
    "a column of a row in a collection": lambda play: setattr(play.roles.all()[0], "name", "other"),
    "a column of a row further away": lambda play: setattr(play.genres.all()[0], "rank", 77),
    "the key": lambda play: setattr(play, "pk", 77),
    "the class": lambda play: setattr(play, "__class__", Role),
    "the class of a related row": lambda play: cache_of(play).update(author=Genre(pk=play.author_id)),
    "the database": lambda play: setattr(play._state, "db", "other"),
    "the database of a related row": lambda play: setattr(play.author._state, "db", "other"),
    "adding": lambda play: setattr(play._state, "adding", True),
    "the state of a row in a collection": lambda play: setattr(play.roles.all()[0]._state, "sealed", True),
    "another row": lambda play: cache_of(play).update(author=Person(pk=77)),
    "None for a row": lambda play: cache_of(play).update(author=None),
    "a row less": lambda play: cache_of(play).pop("author"),
    "a row more": lambda play: cache_of(play).update(director=None),
    "a row less below": lambda play: cache_of(play.author).pop("hometown", None) or cache_of(play.author).pop("locker"),
    "a wrong row more, further away": lambda play: cache_of(play.author).update(mentor=Person(pk=77)),
    "the way back": lambda play: cache_of(play.roles.all()[0]).update(play=Play(pk=play.pk, name="other")),
    "a collection less": lambda play: play._prefetched_objects_cache.pop("roles"),
    "a collection more": lambda play: play._prefetched_objects_cache.update(cast=Person.objects.none()),
    "no queryset": lambda play: play._prefetched_objects_cache.update(roles=list(play.roles.all())),
    "another class of queryset": in_other_class,
    "a queryset without rows": without_rows,
    "the count": counting_wrong,
    "whether there are some": existing_wrong,
    "the order": lambda play: replaced(play, "genres", reversed),
    "a row of a collection less": lambda play: replaced(play, "roles", lambda rows: rows[1:]),
    "a row of a collection twice": lambda play: replaced(play, "roles", lambda rows: [*rows, rows[0]]),
    "the order of an attribute": lambda play: play.chosen.reverse(),
    "a row of an attribute less": lambda play: play.chosen.pop(),
    "an attribute less": lambda play: vars(play).pop("chosen"),
    "a row of an unordered attribute": lambda play: play.unordered.append(Genre(pk=77)),
}


def test_what_is_the_same_is_alike() -> None:
    ours, theirs = plays(), plays()
    compare(ours, theirs)
    assert ours
    assert len({*map(type, reached(ours, theirs))}) > 5


def reached(ours: list[Any], theirs: list[Any]) -> list[Any]:
    comparison = Comparison(is_ordered)
    comparison.graphs(ours, theirs)
    return comparison.reached


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_differs_is_found(change: Callable[[Play], Any]) -> None:
    ours, theirs = plays(), plays()
    change(ours[0])
    with pytest.raises(AssertionError):
        compare(ours, theirs)


def test_objects_less_more_or_in_another_order() -> None:
    for change in (list.pop, list.reverse, lambda rows: rows.append(rows[0])):
        ours, theirs = plays(), plays()
        change(ours)
        with pytest.raises(AssertionError):
            compare(ours, theirs)


def test_the_text_of_an_error_is_compared() -> None:
    """A row that refers to no row, by a key that may not be null."""
    Role.objects.update(play=99)
    theirs, ours = list(Role.objects.order_by("pk")), list(Role.objects.order_by("pk"))
    for some in (theirs, ours):
        prefetch_related_objects(some, "play")
    assert_alike(ours, theirs, ["play"])
    with pytest.MonkeyPatch.context() as patch:
        error = type("RelatedObjectDoesNotExist", (Role.play.RelatedObjectDoesNotExist,), {})
        get = type(Role.play).__get__

        def failing(self: Any, instance: Any, cls: Any = None) -> Any:
            if instance is ours[0]:
                raise error("another text")
            return get(self, instance, cls)

        patch.setattr(type(Role.play), "__get__", failing)
        with pytest.raises(AssertionError, match="another text"):
            assert_alike(ours, theirs, ["play"])


def test_what_is_read_is_compared_and_must_not_query() -> None:
    assert_alike(plays(), plays(), PATHS, lambda play: play.name, is_ordered)
    with pytest.raises(AssertionError):
        assert_alike(plays(), plays(), PATHS, lambda play: id(play), is_ordered)
    with pytest.raises(AssertionError, match="queries"):
        assert_alike(plays(), plays(), PATHS, lambda play: play.sequels.count(), is_ordered)
    with pytest.raises(AssertionError, match="queries"):
        assert_alike(plays(), plays(), [*PATHS, "author__mentor__pupils"], to_attrs=is_ordered)


def test_a_deferred_column_may_be_loaded_where_that_is_said() -> None:
    ours, theirs = (list(Work.objects.only("name").order_by("pk")) for _ in range(2))
    assert ours[0].rank is not None
    Comparison().graphs(ours, theirs)
    with pytest.raises(AssertionError):
        assert_alike(ours, theirs, [])


# --- identity


def one_work() -> Work:
    return Work.objects.select_related("composer").filter(composer__name__contains="person").order_by("pk")[0]


def built() -> list[Any]:
    work = one_work()
    slotted = WithSlots(name="slotted")
    slotted.note = "a note"
    again = {"work": work, "list": [1, work.composer], "queryset": Work.objects.order_by("pk")}
    len(again["queryset"])
    return [work, slotted, again, weakref.ref(work), memoryview(b"bytes"), (1, "text", None)]


def reordered(one: Any) -> None:
    columns = dict(vars(one))
    vars(one).clear()
    vars(one).update(reversed(list(columns.items())))


IDENTITIES: dict[str, Callable[[list[Any]], Any]] = {
    "a column": lambda found: setattr(found[0], "name", "other"),
    "a column's type": lambda found: vars(found[0]).update(rank=float(found[0].rank)),
    "the order of the columns": lambda found: reordered(found[0]),
    "the order of the state": lambda found: reordered(found[0]._state),
    "the class": lambda found: setattr(found[0], "__class__", ListedWork),
    "the class of the state": lambda found: setattr(
        found[0]._state, "__class__", type("S", (type(found[0]._state),), {})
    ),
    "a row below": lambda found: setattr(found[0].composer, "name", "other"),
    "a slot": lambda found: setattr(found[1], "note", "another"),
    "a slot less": lambda found: delattr(found[1], "note"),
    "a key": lambda found: found[2].update(more=1),
    "two objects for one": lambda found: found[2].update(work=one_work()),
    "one object for two": lambda found: found[2]["queryset"]._result_cache.__setitem__(0, found[0]),
    "a list": lambda found: found[2]["list"].append(1),
    "the rows of a queryset": lambda found: found[2]["queryset"]._result_cache.pop(),
    "what is referred to weakly": lambda found: found.__setitem__(3, weakref.ref(found[0].composer)),
    "bytes": lambda found: found.__setitem__(4, memoryview(b"other")),
    "a value": lambda found: found.__setitem__(5, (1, "text", 0)),
}


def test_what_is_built_alike_is_identical() -> None:
    assert_identical(built(), built())


@pytest.mark.parametrize("change", IDENTITIES.values(), ids=IDENTITIES)
def test_what_is_built_otherwise_is_not(change: Callable[[list[Any]], Any]) -> None:
    ours, theirs = built(), built()
    change(ours)
    assert not are_identical(ours, theirs)
    assert not are_identical(theirs, ours)
