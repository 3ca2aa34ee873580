"""Counters and histograms, and how they are shown to Prometheus. Shared by the registry and the supervisor.

    counters    histograms, counters by outcome, and the structs that carry them over the wire
    exposition  Prometheus' text formats, and the metric families that both processes show

It refuses to look at a clock, to serve HTTP, and to grow without limit.
"""
