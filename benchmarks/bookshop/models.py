"""The README's models, `Panel` with three foreign keys to one table, and `Edition` with columns of every usual type."""

from __future__ import annotations

from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=255)
    email = models.EmailField()


class Publisher(models.Model):
    name = models.CharField(max_length=255)
    country = models.CharField(max_length=100)


class Category(models.Model):
    name = models.CharField(max_length=100)


class Book(models.Model):
    title = models.CharField(max_length=255)
    isbn = models.CharField(max_length=13)
    author = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="books")
    translator = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="translations", null=True)
    publisher = models.ForeignKey(Publisher, on_delete=models.CASCADE, related_name="books")
    categories = models.ManyToManyField(Category, related_name="books")


class Review(models.Model):
    book = models.ForeignKey(Book, on_delete=models.CASCADE, related_name="reviews")
    rating = models.IntegerField()
    comment = models.TextField()


class Cover(models.Model):
    book = models.OneToOneField(Book, on_delete=models.CASCADE, related_name="cover")
    colour = models.CharField(max_length=20)


class Panel(models.Model):
    moderator = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="+")
    guest = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="+")
    critic = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="+")


class EditionColumns(models.Model):
    """The columns of an edition except for its foreign keys and its own key."""

    number = models.UUIDField()
    title = models.CharField(max_length=255)
    subtitle = models.CharField(max_length=255, null=True)
    language = models.CharField(max_length=2)
    slug = models.SlugField()
    blurb = models.TextField()
    price = models.DecimalField(max_digits=8, decimal_places=2)
    tax = models.DecimalField(max_digits=5, decimal_places=4, null=True)
    weight = models.FloatField()
    pages = models.IntegerField()
    height = models.PositiveSmallIntegerField(null=True)
    in_print = models.BooleanField()
    published = models.DateField()
    added = models.DateTimeField()
    sold = models.DateTimeField(null=True)
    details = models.JSONField()

    class Meta:
        abstract = True


class Edition(EditionColumns):
    """It has twenty columns."""

    illustrator = models.ForeignKey(Author, on_delete=models.CASCADE, related_name="+")
    publisher = models.ForeignKey(Publisher, on_delete=models.CASCADE, related_name="+")
    shelf = models.ForeignKey(Category, on_delete=models.CASCADE, related_name="+")
