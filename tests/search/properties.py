"""How properties are tested here: whatever else keeps the machine busy, nothing fails for having taken long."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
