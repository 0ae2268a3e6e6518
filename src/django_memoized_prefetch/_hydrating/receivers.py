"""Finds the receivers of a signal that the engine may call by itself."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import ModelSignal
from django.dispatch import Signal, dispatcher

from .._stock import why_patched

# A signal, the list of all its entries, and the receivers of one sender, each as the signal holds it: by a weak
# reference as a rule. Without a list, only `send()` may call them.
Receivers = tuple[Any, Any, tuple[Any, ...]]


def receivers_of(signal: Any, sender: type) -> Receivers:
    """The receivers of a signal for one sender."""
    only_by_send: Receivers = (signal, None, ())
    if type(signal) not in (ModelSignal, Signal) or why_patched(type(signal), ("send", "_live_receivers")) is not None:
        return only_by_send
    if vars(signal).keys() & {"send", "_live_receivers"}:
        return only_by_send
    entries = signal.receivers
    senders = (dispatcher.NONE_ID, dispatcher._make_id(sender))
    own = [entry for entry in list(entries) if entry[0][1] in senders]
    if any(entry[-1] is True for entry in own):  # asynchronous (since Django 5.0)
        return only_by_send
    return signal, entries, tuple(entry[1] for entry in own)
