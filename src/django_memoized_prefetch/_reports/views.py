"""Read-only mappings of what is remembered, with plain values, most recently used first."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from typing import Any, Callable, Generic, TypeVar

from .._config import check_size
from .by_name import not_there

Key = TypeVar("Key")
Value = TypeVar("Value")


class MemoView(Mapping[Any, Any]):
    """
    One memo, or the links of one many-to-many, as a mapping. Reading it does not count as using an entry.

    `keys()`, `values()` and `items()` return lists, the most recently used entry first.
    """

    def __init__(
        self,
        contents: Callable[[], list[tuple[Any, Any]]],
        size: Callable[[], int | None],
        set_size: Callable[[int | None], None],
    ) -> None:
        self._contents, self._size, self._set_size = contents, size, set_size

    def __getitem__(self, key: Any) -> Any:
        return dict(self._contents())[key]

    def __iter__(self) -> Iterator[Any]:
        return iter([key for key, _ in self._contents()])

    def __len__(self) -> int:
        return len(self._contents())

    # Lists, like the LRU of lru-dict.
    def keys(self) -> list[Any]:  # type: ignore[override]
        return [key for key, _ in self._contents()]

    def values(self) -> list[Any]:  # type: ignore[override]
        return [value for _, value in self._contents()]

    def items(self) -> list[tuple[Any, Any]]:  # type: ignore[override]
        return self._contents()

    def get_size(self) -> int | None:
        """How many entries are kept between chunks; None for all."""
        return self._size()

    def set_size(self, size: int | None) -> None:
        """
        Changes how many entries are kept between chunks, for all memos of the model or all links of the name.

        Args:
            size: How many; None for all.

        Raises:
            ValueError: `size` is not positive.
            TypeError: `size` is neither an integer nor None.
        """
        check_size(size, "set_size")
        self._set_size(size)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {dict(self._contents())!r}>"


class ViewMapping(Mapping[Key, MemoView], Generic[Key]):
    """Views by name, each made when it is read."""

    def __init__(self, names: Callable[[], list[Key]], view: Callable[[Key], MemoView]) -> None:
        self._names, self._view = names, view

    def __getitem__(self, name: Key) -> MemoView:
        names = self._names()
        if name not in names:
            raise not_there(name, names)
        return self._view(name)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def items(self) -> ItemsView[Key, MemoView]:
        return ItemsView(self)

    def __repr__(self) -> str:
        return repr({name: self[name] for name in self})
