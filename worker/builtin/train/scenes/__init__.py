"""Procedural landscapes and what is said about them.

| module | |
|---|---|
| `attributes` | what a scene is made of, how one is drawn by lot, its labels |
| `captions` | sentences about a scene, and which attributes each one names |
| `canvas` | antialiased shapes on a float32 picture |
| `light` | palettes: what the time of day and the weather do to colours |
| `sky`, `land`, `subjects`, `weather` | the parts of a picture, back to front |
| `draw` | a scene as a picture |
| `store` | pictures, labels and captions on disk, made by several processes |

Nothing here imports torch, so that the processes that draw start quickly.
"""
