"""Block operations on uniform tiles in plain torch: grid, BlockSample, BlockPad, BlockCombine and layers over them.

A grid says for each block of the image whether it runs at high resolution. A high block is cut into four tiles, a low
block (half the resolution) is one tile, so that all tiles of a level have the same side and the whole dual-resolution
tensor is one `[T, C, q, q]`. See `segstream.blocks.grid` for the order of the tiles.
"""

from segstream.blocks.grid import Grid, PadTable
from segstream.blocks.tiles import combine, from_lists, pad, sample, to_lists

__all__ = ["Grid", "PadTable", "combine", "from_lists", "pad", "sample", "to_lists"]
