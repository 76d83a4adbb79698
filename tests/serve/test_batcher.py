"""Test that each request gets its own answer, whichever requests share its batch."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cnnzoo.serve.batcher import INLINE_SECONDS, Batcher, QueueFull

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Network:
    """Fake network: its outputs equal its inputs, and it records the sizes of its batches."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.free = threading.Event()
        self.free.set()
        self.running = 0

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.running += 1
        assert self.running == 1, "called twice at once"
        self.sizes.append(len(images))
        assert self.free.wait(10)
        self.running -= 1
        if (images == 13).any():
            raise RuntimeError("unlucky")
        values = images.reshape(len(images), -1).astype(np.float32)
        return values, -values


def images(*values: int) -> np.ndarray:
    return np.array(values, np.uint8).reshape(-1, 1, 1, 1)


async def until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("ready", [False, True])
async def test_each_gets_the_outputs_of_its_own_images(ready: bool):
    network = Network()
    batcher = Batcher(network, max_batch=8, ready=lambda: ready)
    rng = np.random.default_rng(0)

    async def ask(i: int) -> None:
        await asyncio.sleep(rng.uniform(0, 0.05))
        own = rng.integers(20, 255, size=(rng.integers(1, 6), 1, 1, 1), dtype=np.uint8)
        first, second = await batcher(own)
        np.testing.assert_array_equal(first, own.reshape(-1, 1))
        np.testing.assert_array_equal(second, -own.reshape(-1, 1).astype(np.float32))

    await asyncio.gather(*(ask(i) for i in range(500)))
    assert batcher.queued == 0
    assert max(network.sizes) <= 8
    assert len(network.sizes) < 500  # some did share


async def test_what_arrives_together_shares_a_batch_and_a_busy_network_gathers():
    network = Network()
    network.free.clear()
    batcher = Batcher(network, max_batch=4)
    asked = [asyncio.create_task(batcher(images(n))) for n in (1, 2)]
    await until(lambda: network.sizes)
    assert network.sizes == [2]
    asked += [asyncio.create_task(batcher(images(n))) for n in (3, 4, 5, 6, 7)]
    await until(lambda: batcher.queued == 5)
    network.free.set()
    await asyncio.gather(*asked)
    assert network.sizes == [2, 4, 1]


async def test_a_quick_batch_is_computed_on_the_event_loop(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cnnzoo.serve.batcher.INLINE_SECONDS", 8)  # a busy machine may stop it for milliseconds
    ready, threads = True, []
    network = Network()

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        threads.append(threading.get_ident())
        return network(images)

    batcher = Batcher(run, ready=lambda: ready)
    here = threading.get_ident()
    await batcher(images(1))
    assert threads[-1] != here  # how long it takes is not known yet
    assert (await batcher(images(7)))[0].item() == 7
    assert threads[-1] == here
    results = await asyncio.gather(*(batcher(images(n)) for n in range(8)))
    assert [outputs[0].item() for outputs in results] == list(range(8))
    assert network.sizes[-1] == 8  # those that arrive together share a batch
    assert threads[-1] == here
    with pytest.raises(RuntimeError, match="unlucky"):
        await batcher(images(13))
    assert threads[-1] == here
    await asyncio.gather(batcher(images(1)), batcher(images(2), inline=False))
    assert threads[-1] != here
    await batcher(images(1))
    assert threads[-1] == here
    ready = False  # loading it would take long
    await batcher(images(1))
    assert threads[-1] != here


async def test_others_that_wait_are_not_computed_on_the_event_loop():
    """With batches of one image, each would be a single quick one."""
    threads = []

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        threads.append(threading.get_ident())
        return (images,)

    batcher = Batcher(run, max_batch=1, ready=lambda: True)
    await batcher(images(1))
    del threads[:]
    await batcher(images(*range(20)))
    assert threading.get_ident() not in threads[:-1]


async def test_a_batch_that_takes_long_is_computed_on_a_thread():
    threads: dict[int, int] = {}

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        threads[len(images)] = threading.get_ident()
        time.sleep(0.4 * INLINE_SECONDS * len(images))
        return (images,)

    batcher = Batcher(run, ready=lambda: True)
    await batcher(images(1))
    await batcher(images(1, 2, 3))
    assert threads[3] != threading.get_ident()


@pytest.mark.parametrize("sizes", [(1, 1, 1), (64, 1)])  # on a GPU a single image takes as long as many
async def test_a_slow_image_is_computed_on_a_thread(sizes: tuple[int, ...]):
    threads = []

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        threads.append(threading.get_ident())
        time.sleep(2 * INLINE_SECONDS)
        return (images,)

    batcher = Batcher(run, ready=lambda: True)
    for size in sizes:
        await batcher(images(*range(size)))
    assert threading.get_ident() not in threads


async def test_more_images_than_a_batch_are_computed_between_those_of_others():
    network = Network()
    network.free.clear()
    batcher = Batcher(network, max_batch=4)
    sent = [images(*range(20, 20 + n)) for n in (1, 9, 1, 1)]
    asked = [asyncio.create_task(batcher(each)) for each in sent]
    await until(lambda: network.sizes)
    network.free.set()
    for own, outputs in zip(sent, await asyncio.gather(*asked), strict=True):
        np.testing.assert_array_equal(outputs[0], own.reshape(-1, 1))
    assert network.sizes == [1, 4, 2, 4, 1]
    assert batcher.queued == 0


async def test_what_is_left_of_a_large_request_is_not_computed_for_nobody():
    network = Network()
    network.free.clear()
    batcher = Batcher(network, max_batch=4)
    asked = asyncio.create_task(batcher(images(*range(20, 40))))
    await until(lambda: network.sizes)
    asked.cancel()
    await until(lambda: batcher.queued == 0)
    network.free.set()
    assert (await batcher(images(7)))[0].item() == 7
    assert network.sizes == [4, 1]


async def test_a_large_request_fails_as_a_whole_and_at_once():
    network = Network()
    batcher = Batcher(network, max_batch=4)
    with pytest.raises(RuntimeError, match="unlucky"):
        await batcher(images(1, 2, 3, 13, *range(20, 60)))
    assert (await batcher(images(7)))[0].item() == 7
    assert batcher.queued == 0


async def test_one_that_fails_does_not_fail_its_neighbours():
    network = Network()
    network.free.clear()
    batcher = Batcher(network, max_batch=8)
    asked = [asyncio.create_task(batcher(images(n))) for n in (1, 2, 13, 4)]
    await until(lambda: network.sizes)
    network.free.set()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(results[2], RuntimeError)
    for n, result in zip((1, 2, 4), (results[0], results[1], results[3]), strict=True):
        assert not isinstance(result, BaseException)
        assert result[0].item() == n
    assert (await batcher(images(7)))[0].item() == 7


async def test_a_cancelled_request_leaves_the_queue():
    network = Network()
    network.free.clear()
    batcher = Batcher(network, max_batch=8, max_queue=1024)
    asked = [asyncio.create_task(batcher(images(1)))]
    await until(lambda: network.sizes)
    asked += [asyncio.create_task(batcher(images(n))) for n in (2, 3)]
    await until(lambda: batcher.queued == 2)
    asked[1].cancel()
    await until(lambda: batcher.queued == 1)
    network.free.set()
    assert (await asked[2])[0].item() == 3
    assert network.sizes == [1, 1]


async def test_cancelled_while_it_is_computed():
    network = Network()
    network.free.clear()
    batcher = Batcher(network)
    asked = asyncio.create_task(batcher(images(1)))
    await until(lambda: network.sizes)
    asked.cancel()
    network.free.set()
    assert (await batcher(images(2)))[0].item() == 2


async def test_a_full_queue_refuses_and_recovers():
    network = Network()
    network.free.clear()
    batcher = Batcher(network, max_batch=2, max_queue=3)
    asked = [asyncio.create_task(batcher(images(1)))]
    await until(lambda: network.sizes)
    asked += [asyncio.create_task(batcher(images(n))) for n in (2, 3, 4)]
    await until(lambda: batcher.queued == 3)
    with pytest.raises(QueueFull):
        await batcher(images(5))
    network.free.set()
    assert [(await one)[0].item() for one in asked] == [1, 2, 3, 4]
    assert (await batcher(images(6)))[0].item() == 6


async def test_an_error_outside_the_network_fails_its_batch_alone():
    seen: list[int] = []

    def observe(images: int) -> None:
        seen.append(images)
        if len(seen) == 1:
            raise OSError("no space left for the metrics")

    batcher = Batcher(Network(), observe=observe)
    with pytest.raises(OSError, match="no space left"):
        await batcher(images(1))
    assert (await batcher(images(2)))[0].item() == 2
    assert batcher.queued == 0


async def test_models_take_turns_on_their_threads():
    """A large request for one does not keep the other waiting until its end."""
    order: list[str] = []
    begun, free, threads = threading.Event(), threading.Event(), ThreadPoolExecutor(1)

    def network(name: str) -> Callable[[np.ndarray], tuple[np.ndarray]]:
        def run(images: np.ndarray) -> tuple[np.ndarray]:
            order.append(name)
            begun.set()
            assert free.wait(10)
            return (images,)

        return run

    a, b = (Batcher(network(name), max_batch=1, executor=threads) for name in "ab")
    large = asyncio.create_task(a(images(*range(20))))
    await until(begun.is_set)
    single = asyncio.create_task(b(images(1)))
    await asyncio.sleep(0.05)
    free.set()
    await asyncio.gather(large, single)
    assert order.index("b") <= 2
    assert len(order) == 21


async def test_a_failure_says_nothing_about_how_long_a_batch_takes():
    threads = []

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        threads.append(threading.get_ident())
        if len(threads) == 1:
            raise RuntimeError("unlucky")
        return (images,)

    batcher = Batcher(run, ready=lambda: True)
    with pytest.raises(RuntimeError, match="unlucky"):
        await batcher(images(1))
    await batcher(images(2))
    assert threading.get_ident() not in threads
