"""The demo: a made-up company and sixty days of its service, told to a cell through gRPC as any client would tell it.

`company`, `customers`, `cases`, `outage` and `losses` say what happens, as scripts; `player` plays them; `summary` counts
what came of it. The same seed gives the same commands, and so the same streams.
"""
