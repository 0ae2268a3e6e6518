"""The tables that the benchmarks stream."""

from __future__ import annotations

import auto_prefetch
from django.db import models

from benchmarks.bookshop.models import EditionColumns


class Author(auto_prefetch.Model):
    name = models.CharField(max_length=255)
    email = models.EmailField()

    class Meta(auto_prefetch.Model.Meta):
        db_table = "bookshop_author"


class Publisher(auto_prefetch.Model):
    name = models.CharField(max_length=255)
    country = models.CharField(max_length=100)

    class Meta(auto_prefetch.Model.Meta):
        db_table = "bookshop_publisher"


class Category(auto_prefetch.Model):
    name = models.CharField(max_length=100)

    class Meta(auto_prefetch.Model.Meta):
        db_table = "bookshop_category"


class Book(auto_prefetch.Model):
    title = models.CharField(max_length=255)
    isbn = models.CharField(max_length=13)
    author = auto_prefetch.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    translator = auto_prefetch.ForeignKey(Author, on_delete=models.CASCADE, related_name="translations", null=True)
    publisher = auto_prefetch.ForeignKey(Publisher, on_delete=models.CASCADE, related_name="books")

    class Meta(auto_prefetch.Model.Meta):
        db_table = "bookshop_book"


class Review(auto_prefetch.Model):
    book = auto_prefetch.ForeignKey(Book, on_delete=models.CASCADE, related_name="reviews")
    rating = models.IntegerField()
    comment = models.TextField()

    class Meta(auto_prefetch.Model.Meta):
        db_table = "bookshop_review"


class Edition(EditionColumns, auto_prefetch.Model):
    illustrator = auto_prefetch.ForeignKey(Author, on_delete=models.CASCADE, related_name="+")
    publisher = auto_prefetch.ForeignKey(Publisher, on_delete=models.CASCADE, related_name="+")
    shelf = auto_prefetch.ForeignKey(Category, on_delete=models.CASCADE, related_name="+")

    class Meta(auto_prefetch.Model.Meta):
        db_table = "bookshop_edition"
