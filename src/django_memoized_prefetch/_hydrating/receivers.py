"""Finds the receivers of a signal that the engine may call by itself."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import ModelSignal
from django.dispatch import dispatcher

from .._stock import why_patched

# A signal, the list of all its entries, and the receivers of one sender, each as the signal holds it: by a weak
# reference as a rule. Without a list, only `send()` may call them.
Receivers = tuple[Any, Any, tuple[Any, ...]]


_ARE_OWN = why_patched(ModelSignal, ("send", "_live_receivers")) is None
_SEND, _LIVE_RECEIVERS = ModelSignal.send, ModelSignal._live_receivers


def has_own_signals() -> bool:
    """Whether signals find and call their receivers by Django's own code."""
    return _ARE_OWN and ModelSignal.send is _SEND and ModelSignal._live_receivers is _LIVE_RECEIVERS


def receivers_of(signal: Any, sender: type) -> Receivers:
    """The receivers of a signal for one sender."""
    only_by_send: Receivers = (signal, None, ())
    if not has_own_signals() or type(signal) is not ModelSignal:
        return only_by_send
    own_attributes = vars(signal)
    if "send" in own_attributes or "_live_receivers" in own_attributes:
        return only_by_send
    entries = signal.receivers
    if not entries:
        return signal, entries, ()
    senders = (dispatcher.NONE_ID, dispatcher._make_id(sender))
    own = [entry for entry in list(entries) if entry[0][1] in senders]
    if any(entry[-1] is True for entry in own):  # asynchronous (since Django 5.0)
        return only_by_send
    return signal, entries, tuple(entry[1] for entry in own)
