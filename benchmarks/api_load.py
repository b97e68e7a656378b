"""
How fast pages of an API are loaded: 1,000 pages of 100 records from a server that takes 20 ms for each.

The limit is what latency and concurrency alone allow: pages / concurrency x 20 ms. The server is a process of its own
on loopback; the loader runs as its bloc does in a job, every record parsed. The target is 1.2 times the limit at 5 and
at 10 pages at once; 20 at once is 1 ms for a page, where the parsing itself shows. Beside each stands what bare sockets
take that throw away what they read: so much of it is the server's timer and the machine.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from statistics import median
from typing import Any

from benchmarks import _verdict
from cableway.blocs.api_loader import ApiLoaderBloc, ApiLoaderConfig
from cableway.blocs.http.pagination import Pagination
from cableway.blocs.kinds import Ending, Resources
from cableway.context import RunContext, RunFacts
from cableway.settings import HttpSettings

PAGES, RECORDS, LATENCY_S = 1000, 100, 0.02
JUDGED, SHOWN = (5, 10), (20,)
TARGET, ROUNDS = 1.2, 3


def page(number: int) -> bytes:
    records = [
        {
            "id": number * RECORDS + n,
            "name": f"order {n}",
            "price": n * 1.25,
            "paid": n % 2 == 0,
            "at": "2026-11-21T10:00:00Z",
        }
        for n in range(RECORDS)
    ]
    return json.dumps({"data": records if number < PAGES else [], "pages": PAGES}).encode()


async def serve() -> None:
    bodies = [page(number) for number in range(PAGES + 1)]
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            connections.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                number = min(PAGES, int(head.split(b"page=", 1)[1].split(b" ", 1)[0].split(b"&", 1)[0]))
                await asyncio.sleep(LATENCY_S)
                body = bodies[number]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def loaded(port: int, concurrency: int) -> float:
    """Seconds for all pages."""
    config = ApiLoaderConfig(
        url=f"http://127.0.0.1:{port}/orders",
        pagination=Pagination(type="page", start=0, pages_path="pages"),
        record_path="data",
        pages=True,
        concurrency=concurrency,
    )
    bloc = ApiLoaderBloc("orders", config)
    bloc.bind(Resources(http=HttpSettings(allow=("127.0.0.1",))))
    context = RunContext(RunFacts(run_id="run", pipeline="p"), bloc="orders")
    await bloc.open(context)
    try:
        began = time.perf_counter()
        count = 0
        items: Any = bloc.load(context)
        async for _, records in items:
            count += len(records)
        elapsed = time.perf_counter() - began
    finally:
        await bloc.close(Ending.SUCCEEDED)
    if count != PAGES * RECORDS:
        sys.exit(f"{count} records in place of {PAGES * RECORDS}")
    return elapsed


async def bare(port: int, concurrency: int) -> float:
    """Seconds for all pages where nobody looks into them."""
    numbers = iter(range(PAGES))

    async def read() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            writer.write(b"GET /orders?page=%d HTTP/1.1\r\nHost: here\r\n\r\n" % number)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r")[0]))
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(read() for _ in range(concurrency)))
    return time.perf_counter() - began


def main(arguments: list[str]) -> None:
    if arguments == ["serve"]:
        asyncio.run(serve())
        return
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.api_load", "serve"], stdout=subprocess.PIPE, text=True)
    figures: dict[str, object] = {"unit": "times what latency and concurrency allow; s for all pages"}
    worst = 0.0
    try:
        port = int(server.stdout.readline()) if server.stdout is not None else 0
        for concurrency in JUDGED + SHOWN:
            limit = PAGES / concurrency * LATENCY_S
            rounds = [
                (asyncio.run(loaded(port, concurrency)), asyncio.run(bare(port, concurrency))) for _ in range(ROUNDS)
            ]
            elapsed, floor = (median(times) for times in zip(*rounds, strict=True))
            ratio, least = elapsed / limit, floor / limit
            worst = max(worst, ratio) if concurrency in JUDGED else worst
            print(
                f"{concurrency} at once: {elapsed:.2f} s, the limit is {limit:.2f} s, {ratio:.2f} times that"
                f" (bare sockets {least:.2f} times)"
            )
            figures[f"at_once_{concurrency}"] = {
                "s": round(elapsed, 2),
                "ratio": round(ratio, 2),
                "bare": round(least, 2),
            }
    finally:
        server.kill()
        server.wait()
    figures["ratio"] = round(worst, 2)
    _verdict.say("api_load", figures, {"ratio": TARGET, "at_once": list(JUDGED)}, met=worst <= TARGET)


if __name__ == "__main__":
    main(sys.argv[1:])
