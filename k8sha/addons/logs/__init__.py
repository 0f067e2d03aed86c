"""Elasticsearch, Fluent Bit and Kibana: their objects, and the proof that a line is found."""

__all__: list[str] = []
