"""Webhooks: how their senders are known, what becomes of them, and what is kept of them."""

from __future__ import annotations

from cableway_handlers.api.hooks.deliveries import Delivery, Outcome, Recorded, Register
from cableway_handlers.api.hooks.hook import Hook
from cableway_handlers.api.hooks.register import HookDesk
from cableway_handlers.api.hooks.route import PREFIX, HookRoute, Limits

__all__ = ["PREFIX", "Delivery", "Hook", "HookDesk", "HookRoute", "Limits", "Outcome", "Recorded", "Register"]
