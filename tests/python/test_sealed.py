"""django-seal: sealable querysets are sealed, and reading a sealed chunk warns of nothing. Warnings are errors here."""

from __future__ import annotations

import django
import pytest
from django.db.models import Prefetch, prefetch_related_objects
from seal.exceptions import UnsealedAttributeAccess

from django_memoized_prefetch import MemoizedPrefetch, MemoizedPrefetchConfig
from tests.python.customised.models import Article, Clipping, Editor, Journal, Registration, Subject
from tests.python.databases import on_one_database
from tests.python.graph import assert_same_as_django
from tests.python.queries import no_queries, query_count

pytestmark = on_one_database


@pytest.fixture(autouse=True)
def rows() -> list[Article]:
    editors = [Editor.objects.create(name=f"editor {i}") for i in range(3)]
    subjects = [Subject.objects.create(name=f"subject {i}") for i in range(4)]
    journals = [Journal.objects.create(name=f"journal {i}", editor=editors[i % 2] if i else None) for i in range(3)]
    for journal in journals:
        Registration.objects.create(journal=journal)
        journal.subjects.add(*subjects[1:])
    articles = [
        Article.objects.create(
            title=f"article {i}", journal=journals[i % 3], reviewer=editors[i % 3] if i % 2 else None
        )
        for i in range(6)
    ]
    for i, article in enumerate(articles):
        article.subjects.add(*subjects[: i % 4])
        Clipping.objects.create(article=article)
    return articles


def sealed_articles() -> list[Article]:
    return list(Article.objects.seal().order_by("pk"))


def explicit_subjects() -> MemoizedPrefetchConfig:
    return MemoizedPrefetchConfig(
        Subject,
        ["subjects"],
        is_many_to_many=True,
        through_model=Article.subjects.through,
        source_field="article_id",
        target_field="subject_id",
    )


def test_an_unprocessed_sealed_object_warns() -> None:
    """Else the other tests here could not fail."""
    with pytest.raises(UnsealedAttributeAccess):
        _ = sealed_articles()[0].journal
    with pytest.raises(UnsealedAttributeAccess):
        list(sealed_articles()[0].subjects.all())


@pytest.mark.parametrize("as_config", [True, False])
def test_foreign_keys_of_a_sealed_chunk(as_config: bool) -> None:
    prefetch = (
        MemoizedPrefetch(MemoizedPrefetchConfig(Journal, ["journal"]), MemoizedPrefetchConfig(Editor, ["reviewer"]))
        if as_config
        else MemoizedPrefetch("journal", "reviewer")
    )
    # Of a config, the rows come from the model's manager, and are sealed as that seals them.
    sealing = [Prefetch("journal", Journal.objects.seal()), Prefetch("reviewer", Editor.objects.seal())]
    for _ in range(2):
        for article in assert_same_as_django(
            sealed_articles, sealing if as_config else ["journal", "reviewer"], prefetch
        ):
            with no_queries():
                assert article.journal.name
                assert article.reviewer is None or article.reviewer.name


def test_rows_of_sealable_models_are_sealed() -> None:
    prefetch = MemoizedPrefetch(
        MemoizedPrefetchConfig(Journal, ["journal"]), MemoizedPrefetchConfig(Editor, ["reviewer"]), explicit_subjects()
    )
    for chunk in (sealed_articles(), list(Article.objects.all())):
        prefetch.process_chunk(chunk)
        for article in chunk:
            assert article.journal._state.sealed
            assert all(subject._state.sealed for subject in article.subjects.all())
        with pytest.raises(UnsealedAttributeAccess):
            _ = chunk[1].journal.editor
        with pytest.raises(UnsealedAttributeAccess):
            list(chunk[1].journal.subjects.all())


def test_prefetch_all_is_sealed() -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Journal, ["journal"], prefetch_all=True))
    articles = sealed_articles()
    with no_queries():
        prefetch.process_chunk(articles)
    assert all(article.journal._state.sealed for article in articles)


def test_sealed_chunk_stays_sealed_and_an_unsealed_one_unsealed() -> None:
    prefetch = MemoizedPrefetch("journal", "subjects")
    sealed = prefetch.process_chunk(sealed_articles())
    assert all(article._state.sealed for article in sealed)
    with pytest.raises(UnsealedAttributeAccess):
        _ = sealed[1].reviewer
    unsealed = prefetch.process_chunk(list(Article.objects.order_by("pk")))
    assert not any(getattr(article._state, "sealed", False) for article in unsealed)
    with query_count(1):
        assert unsealed[1].reviewer.name


@pytest.mark.parametrize("as_config", [True, False])
def test_many_to_many_of_a_sealed_chunk(as_config: bool) -> None:
    prefetch = MemoizedPrefetch(explicit_subjects() if as_config else "subjects")
    for _ in range(2):
        for article in prefetch.process_chunk(sealed_articles()):
            with no_queries():
                subjects = article.subjects.all()
                assert subjects.count() == len(subjects) == len(list(subjects))
                assert subjects.exists() == bool(subjects)
                names = [subject.name for subject in subjects]
                assert names == sorted(names, reverse=True)
    theirs = sealed_articles()
    prefetch_related_objects(theirs, "subjects")
    ours = prefetch.process_chunk(sealed_articles())
    for our, their in zip(ours, theirs):
        assert list(our.subjects.all()) == list(their.subjects.all())


@pytest.mark.parametrize("reads", ["filter", "first", "values", "order_by", "count"])
def test_reading_more_of_a_sealed_many_to_many_is_as_with_seal_alone(reads: str) -> None:
    def read(article: Article) -> object:
        subjects = article.subjects.all()
        try:
            if reads == "filter":
                return list(subjects.filter(name="subject 1"))
            if reads == "values":
                return list(subjects.values("name"))
            if reads == "order_by":
                return list(subjects.order_by("name"))
            return getattr(subjects, reads)()
        except UnsealedAttributeAccess as error:
            return type(error)

    theirs = sealed_articles()
    prefetch_related_objects(theirs, "subjects")
    ours = MemoizedPrefetch("subjects").process_chunk(sealed_articles())
    assert [read(our) for our in ours] == [read(their) for their in theirs]


def test_reverse_many_to_many_of_a_sealed_chunk() -> None:
    prefetch = MemoizedPrefetch("articles")
    for _ in range(2):
        for subject in prefetch.process_chunk(list(Subject.objects.seal())):
            with no_queries():
                assert subject.articles.count() == len(list(subject.articles.all()))


@pytest.mark.parametrize("path", ["journal__editor", "journal.editor"])
def test_nested_path_of_a_sealed_chunk(path: str) -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Editor, [path]), "journal__subjects")
    for queries in (4, 0):  # journals, editors; links, subjects
        articles = sealed_articles()
        with query_count(queries):
            prefetch.process_chunk(articles)
        with no_queries():
            for article in articles:
                assert article.journal.editor is None or article.journal.editor.name
                assert len(article.journal.subjects.all()) == 3


def test_preloaded_intermediates_of_a_sealed_chunk() -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Editor, ["journal__editor"]))
    articles = list(Article.objects.select_related("journal").seal())
    with query_count(1):
        prefetch.process_chunk(articles)
    with no_queries():
        assert {article.journal.editor is None for article in articles} == {True, False}


def test_sealed_queryset_as_a_chunk() -> None:
    articles = Article.objects.seal()
    MemoizedPrefetch("journal", "subjects").process_chunk(articles)
    with no_queries():
        assert all(article.journal.name for article in articles)
        assert all(article._state.sealed for article in articles)


def test_one_to_one_of_a_sealed_chunk() -> None:
    prefetch = MemoizedPrefetch(MemoizedPrefetchConfig(Journal, ["journal"]))
    for _ in range(2):
        registrations = prefetch.process_chunk(list(Registration.objects.seal()))
        with no_queries():
            assert all(registration.journal.name for registration in registrations)
    # django-seal 1.7.1 itself cannot prefetch a one-to-one on Django 6.1: there is nothing to compare with.
    if django.VERSION < (6, 1):
        assert_same_as_django(lambda: list(Registration.objects.order_by("pk")), "journal", MemoizedPrefetch("journal"))


def test_chunk_of_a_model_that_is_not_sealable() -> None:
    prefetch = MemoizedPrefetch("article__journal", "article__subjects")
    for _ in range(2):
        clippings = prefetch.process_chunk(list(Clipping.objects.all()))
        with no_queries():
            assert all(clipping.article.journal.name for clipping in clippings)
            assert sum(clipping.article.subjects.count() for clipping in clippings) == 7


def test_missing_and_null_rows_of_a_sealed_chunk() -> None:
    article = Article(title="loose", journal_id=99999, reviewer_id=None)
    article._state.sealed = True
    MemoizedPrefetch("journal", "reviewer").process_chunk([article])
    with no_queries():
        with pytest.raises(Journal.DoesNotExist):
            _ = article.journal
        assert article.reviewer is None


def test_deferred_key_of_a_sealed_chunk_is_as_with_seal_alone() -> None:
    def chunk() -> list[Article]:
        return list(Article.objects.defer("journal").seal().order_by("pk"))

    with pytest.raises(UnsealedAttributeAccess) as theirs:
        prefetch_related_objects(chunk(), "journal")
    prefetch = MemoizedPrefetch("journal")
    with pytest.raises(UnsealedAttributeAccess) as ours:
        prefetch.process_chunk(chunk())
    assert str(ours.value) == str(theirs.value)
    assert_same_as_django(sealed_articles, "journal", prefetch)
