"""Prometheus, Alertmanager and Grafana: their objects, their rules, and what hosts export for them."""

__all__: list[str] = []
