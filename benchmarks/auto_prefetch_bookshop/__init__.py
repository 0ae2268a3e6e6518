"""The bookshop's tables as models of django-auto-prefetch."""
