"""The streaming workloads by SQLAlchemy, without Django: `selectinload` and `yield_per`."""

from __future__ import annotations

import gc
import os
from time import perf_counter
from typing import Any, Callable

from sqlalchemy import JSON, Column, ForeignKey, Numeric, Table, Uuid, create_engine, event, select
from sqlalchemy import types as sql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column, relationship, selectinload
from sqlalchemy.pool import StaticPool

from .bookshop.data import SCHEMA
from .outcome import UNREAD, Outcome
from .readers import pass_over, read_book_category_lists, read_book_keys, read_editions, read_reviews

CHUNK = 2_000


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "bookshop_author"
    id = mapped_column(sql.BigInteger, primary_key=True)
    name = mapped_column(sql.String)
    email = mapped_column(sql.String)


class Publisher(Base):
    __tablename__ = "bookshop_publisher"
    id = mapped_column(sql.BigInteger, primary_key=True)
    name = mapped_column(sql.String)
    country = mapped_column(sql.String)


class Category(Base):
    __tablename__ = "bookshop_category"
    id = mapped_column(sql.BigInteger, primary_key=True)
    name = mapped_column(sql.String)


links = Table(
    "bookshop_book_categories",
    Base.metadata,
    Column("book_id", ForeignKey("bookshop_book.id")),
    Column("category_id", ForeignKey("bookshop_category.id")),
)


class Book(Base):
    __tablename__ = "bookshop_book"
    id = mapped_column(sql.BigInteger, primary_key=True)
    title = mapped_column(sql.String)
    isbn = mapped_column(sql.String)
    author_id = mapped_column(ForeignKey(Author.id))
    translator_id = mapped_column(ForeignKey(Author.id))
    publisher_id = mapped_column(ForeignKey(Publisher.id))
    author = relationship(Author, foreign_keys=author_id)
    translator = relationship(Author, foreign_keys=translator_id)
    publisher = relationship(Publisher)
    categories = relationship(Category, secondary=links)


class Review(Base):
    __tablename__ = "bookshop_review"
    id = mapped_column(sql.BigInteger, primary_key=True)
    book_id = mapped_column(ForeignKey(Book.id))
    rating = mapped_column(sql.Integer)
    comment = mapped_column(sql.Text)
    book = relationship(Book)


class Edition(Base):
    __tablename__ = "bookshop_edition"
    id = mapped_column(sql.BigInteger, primary_key=True)
    number = mapped_column(Uuid)
    title = mapped_column(sql.String)
    subtitle = mapped_column(sql.String)
    language = mapped_column(sql.String)
    slug = mapped_column(sql.String)
    blurb = mapped_column(sql.Text)
    price = mapped_column(Numeric(8, 2))
    tax = mapped_column(Numeric(5, 4))
    weight = mapped_column(sql.Float)
    pages = mapped_column(sql.Integer)
    height = mapped_column(sql.SmallInteger)
    in_print = mapped_column(sql.Boolean)
    published = mapped_column(sql.Date)
    added = mapped_column(sql.DateTime(timezone=True))
    sold = mapped_column(sql.DateTime(timezone=True))
    details = mapped_column(JSON)
    illustrator_id = mapped_column(ForeignKey(Author.id))
    publisher_id = mapped_column(ForeignKey(Publisher.id))
    shelf_id = mapped_column(ForeignKey(Category.id))
    illustrator = relationship(Author)
    publisher = relationship(Publisher)
    shelf = relationship(Category)


Reader = Callable[[Any], int]
JOBS: dict[str, tuple[Any, tuple[Any, ...], Reader]] = {
    "fk": (
        Book,
        (selectinload(Book.author), selectinload(Book.translator), selectinload(Book.publisher)),
        read_book_keys,
    ),
    "m2m": (Book, (selectinload(Book.categories),), read_book_category_lists),
    "nested": (
        Review,
        (selectinload(Review.book).options(selectinload(Book.author), selectinload(Book.publisher)),),
        read_reviews,
    ),
    "wide": (
        Edition,
        (selectinload(Edition.illustrator), selectinload(Edition.publisher), selectinload(Edition.shelf)),
        read_editions,
    ),
}


def url() -> tuple[URL, dict[str, Any]]:
    database = os.environ["BENCHMARK_DATABASE"]
    if database.startswith("postgres"):
        return make_url(database).set(drivername="postgresql+psycopg"), {"options": f"-c search_path={SCHEMA}"}
    return URL.create("sqlite", database=database), {}


def run(workload: str, contender: str) -> Outcome:
    model, options, read = JOBS[workload]
    outcome = Outcome()
    address, arguments = url()
    engine = create_engine(address, connect_args=arguments, poolclass=StaticPool)

    def count(*_: Any) -> None:
        outcome.queries += 1

    def stream(read: Reader) -> tuple[float, int]:
        start = perf_counter()
        with Session(engine) as session:
            statement = select(model).options(*options).execution_options(yield_per=CHUNK)
            checksum = read(session.scalars(statement))
        return perf_counter() - start, checksum

    engine.connect().close()
    event.listen(engine, "before_cursor_execute", count)
    seconds, outcome.checksum = stream(read)
    event.remove(engine, "before_cursor_execute", count)
    outcome.add("seconds", seconds)
    if workload == "m2m":
        gc.collect()
        outcome.add(UNREAD, stream(pass_over)[0])
    return outcome
