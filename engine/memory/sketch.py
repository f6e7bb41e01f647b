"""A network walked through with sizes instead of numbers: how much it multiplies, and what it holds in memory while it does.

The walks in `engine.memory.networks` read like the forward passes they stand for. A `Value` is a tensor without its contents. Its
`Memory` is freed as a tensor's is, when nobody refers to it any more, so that the peak of a walk is that of the forward pass.
What autograd keeps for the way back is kept here too. With frozen weights a layer needs nothing of its input unless an adapter
learns from it (Hu et al. 2022, section 4.2), and of what comes before the first adapter nothing is kept at all.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager

from engine.memory.values import CUDA, Block, Formats, Memory, Meter, Value, Weight

MULTIPLY_ADD = 2
"""FLOPs of a multiplication and the addition that follows it."""
ATTENTION_FORWARD, ATTENTION_BACKWARD = 2, 4
"""Products of T x T x D: scores and their use; the scores again and four gradients (Dao et al. 2022, algorithms 1 and 4)."""
FLOAT32 = 4


class Sketch:
    """Args:
    batch: pictures, or texts.
    ranks: path of a layer -> rank of its adapter; 0 for one that is not a product of thin factors.
    again: names of the blocks that are calculated again in the backward pass instead of kept.
    """

    def __init__(
        self, batch: int = 1, formats: Formats = CUDA, ranks: Mapping[str, int] | None = None, again: Container[str] = ()
    ) -> None:
        self.batch, self.formats, self.ranks, self.again = batch, formats, ranks or {}, again
        self.meter = Meter()
        self._open = Block("")
        self.blocks = [self._open]
        self._copies: dict[tuple[Memory, int, str], Memory] = {}

    @property
    def live(self) -> int:
        """Bytes that there are now."""
        return self.meter.live

    @property
    def peak(self) -> int:
        """The most bytes that there were at once."""
        return self.meter.peak

    @contextmanager
    def block(self, name: str, *inputs: Value) -> Iterator[None]:
        """Everything inside belongs to the block, which is given `inputs`."""
        outer, again = self._open, name in self.again
        self._open = block = Block(name, again)
        self.blocks.append(block)
        self._copies.clear()
        yield
        self._copies.clear()
        self._open = outer
        if again:
            for memory, kind in block.kept.items():
                block.remade[kind] += memory.size
            block.kept = {value.memory: "inputs" for value in inputs} if block.kept else {}

    # ---- where values come from ----

    def given(self, rows: int, channels: int, learns: bool = False, width: int = 0) -> Value:
        """A value from outside, or one that has just been calculated."""
        width = width or self.formats.compute
        return Value(rows, channels, width, learns, Memory(self.meter, rows * channels * width))

    def made(self, rows: int, channels: int, *sources: Value) -> Value:
        """What comes of `sources`, in the widest of their formats."""
        return self.given(rows, channels, any(x.learns for x in sources), max(x.width for x in sources))

    # ---- layers with weights ----

    def linear(self, path: str, x: Value, outputs: int, bias: bool = True, shared: str = "") -> Value:
        """Args:
        shared: layers with the same word are given the same x and keep it together.
        """
        self._weigh(path, Weight(x.channels * outputs, outputs * bias))
        return self._product(path, x, x.rows, outputs, x.channels, shared)

    def conv(self, path: str, x: Value, outputs: int, kernel: int = 3, rows: int = 0, bias: bool = True) -> Value:
        """Unlike a Linear, a convolution keeps its input for a gradient of its weight, wanted or not.

        Args:
            rows: positions of what comes out, where they are not those of x.
        """
        self._weigh(path, Weight(0, x.channels * outputs * kernel**2 + outputs * bias))
        if x.learns:
            self._keep(self._cast(x, self.formats.compute), "convolution")
        return self._product(path, x, rows or x.rows, outputs, x.channels * kernel**2)

    def _product(self, path: str, x: Value, rows: int, outputs: int, inputs: int, shared: str = "") -> Value:
        adapted, flops = path in self.ranks, MULTIPLY_ADD * rows * outputs * inputs
        self._open.forward += flops
        self._open.backward += flops * x.learns
        y = self.given(rows, outputs, x.learns or adapted)
        if adapted:
            self._learn(self.ranks[path], x, y, inputs, shared)
        self._work(x, y, more=0 if x.width == self.formats.compute else x.rows * x.channels * self.formats.compute)
        return y

    def _learn(self, rank: int, x: Value, y: Value, inputs: int, shared: str) -> None:
        """The adapter beside a layer: x @ down @ up, or x at a change of the whole weight."""
        self._keep(self._cast(x, self.formats.compute, shared), "adapter")
        thin = rank * (inputs + y.channels) if rank else inputs * y.channels
        self._open.learnt += thin
        flops = MULTIPLY_ADD * y.rows * thin
        self._open.forward += flops
        self._open.backward += flops + MULTIPLY_ADD * y.rows * (rank * y.channels + (thin - rank * y.channels) * x.learns)
        if not rank:  # the change, as it is made, and its gradient
            self._work(x, y, more=2 * FLOAT32 * thin)
            return
        self._keep(Memory(self.meter, y.rows * rank * self.formats.compute), "adapter")
        if self.formats.compute < FLOAT32:  # the factors as autocast rounds them
            self._keep(Memory(self.meter, thin * self.formats.compute), "adapter")

    def table(self, path: str, numbers: int) -> None:
        """Numbers that are looked up or added: embeddings, tokens, positions."""
        self._weigh(path, Weight(0, numbers))

    def _weigh(self, path: str, weight: Weight) -> None:
        self._open.weights[path] = weight

    # ---- normalisation ----

    def norm(self, path: str, x: Value, groups: int = 0, weights: int = 2) -> Value:
        """Layer norm, or group norm with so many groups; `weights` per channel."""
        self._weigh(path, Weight(0, weights * x.channels))
        width = max(self.formats.norms, x.width)
        y = self.given(x.rows, x.channels, x.learns or path in self.ranks, width)
        if y.learns:
            self._keep(self._cast(x, width), "norm")
            self._keep(Memory(self.meter, 2 * width * (self.batch * groups or x.rows)), "norm")
        self._work(x, y)
        return y

    def rms_norm(self, path: str, x: Value, copies: bool = False, back: bool = True, rows: int = 0) -> Value:
        """Root mean square norm, in float32 of a copy.

        Args:
            copies: whether x is kept as well as its copy.
            back: whether what comes out is in x's format again; else in that of norms.
            rows: how many vectors x is cut into, where that is not its rows: attention heads.
        """
        self._weigh(path, Weight(0, x.rows * x.channels // (rows or x.rows)))
        y = self.given(x.rows, x.channels, x.learns, x.width if back else max(x.width, self.formats.norms))
        if x.learns:
            self._keep(self._cast(x, FLOAT32), "norm")
            self._keep(Memory(self.meter, FLOAT32 * (rows or x.rows)), "norm")
            if copies:
                self._keep(x.memory, "norm")
        self._work(x, y)
        return y

    # ---- operations without weights ----

    def activation(self, x: Value) -> Value:
        """SiLU, GELU, tanh: keeps what goes in."""
        if x.learns:
            self._keep(x.memory, "activation")
        y = self.made(x.rows, x.channels, x)
        self._work(x, y)
        return y

    def multiply(self, x: Value, y: Value) -> Value:
        """Number by number; y may have one row per picture. Each is kept for the gradient of the other."""
        for mine, other in ((x, y), (y, x)):
            if other.learns:
                self._keep(mine.memory, "product")
        z = self.made(x.rows, x.channels, x, y)
        self._work(x, z)
        return z

    def add(self, x: Value, *others: Value) -> Value:
        return self.made(x.rows, x.channels, x, *others)

    def join(self, *values: Value) -> Value:
        """One after the other: rows of the same channels."""
        return self.made(sum(x.rows for x in values), values[0].channels, *values)

    def join_channels(self, *values: Value) -> Value:
        """Side by side: channels of the same rows."""
        return self.made(values[0].rows, sum(x.channels for x in values), *values)

    def attention(self, q: Value, k: Value, v: Value, heads: int) -> Value:
        """Fused attention, which never holds the T x T scores."""
        pairs = q.rows * (k.rows // self.batch) * q.channels
        self._open.forward += ATTENTION_FORWARD * MULTIPLY_ADD * pairs
        learns = q.learns or k.learns or v.learns
        y = self.given(q.rows, q.channels, learns)
        if learns:
            self._open.backward += ATTENTION_BACKWARD * MULTIPLY_ADD * pairs
            for x in (q, k, v):
                self._keep(self._cast(x, self.formats.compute), "attention")
            self._keep(y.memory, "attention")
            self._keep(Memory(self.meter, FLOAT32 * q.rows * heads), "attention")
        self._work(q, k, v, y)
        return y

    # ---- what is kept ----

    def _cast(self, x: Value, width: int, shared: str = "") -> Memory:
        """x's memory, or that of a copy in another format, the same one for the same `shared`."""
        if x.width == width:
            return x.memory
        key = x.memory, width, shared
        copy = self._copies.get(key) if shared else None
        if copy is None:
            copy = Memory(self.meter, x.rows * x.channels * width)
            if shared:
                self._copies[key] = copy
        return copy

    def _keep(self, memory: Memory, kind: str) -> None:
        if memory not in self._open.kept:
            self._open.kept[memory] = kind
            self._open.held += memory.size

    def _work(self, *values: Value, more: int = 0) -> None:
        """The gradients of these values, and `more` bytes beside them."""
        if any(x.learns for x in values):
            self._open.peak = max(self._open.peak, self._open.held + sum(x.size for x in values) + more)
